package panics

import (
	"errors"
	"strings"
	"testing"
)

// catch returns the description of the panic of f.
func catch(f func()) (p *Panic) {
	defer func() {
		if value := recover(); value != nil {
			p = Caught(value)
		}
	}()
	f()
	return nil
}

//go:noinline
func fail(value any) { panic(value) }

func TestPanicShowsWhereItHappenedAndNothingOfWhatItSays(t *testing.T) {
	t.Parallel()
	var none *Panic
	var list []int
	tests := map[string]struct {
		f    func()
		what string
	}{
		"nil":           {func() { none.What = "" }, "runtime error: invalid memory address or nil pointer dereference"},
		"out of bounds": {func() { list[len("three")-2]++ }, "runtime error: index out of range [3] with length 0"},
		"text":          {func() { fail("secret") }, "a value of type string"},
		"fault":         {func() { fail(Fault("of ours")) }, "of ours"},
		"error":         {func() { fail(errors.New("secret")) }, "a value of type *errors.errorString"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := catch(tt.f)
			if p == nil {
				t.Fatal("it did not panic")
			}
			if p.What != tt.what {
				t.Errorf("says %q, want %q", p.What, tt.what)
			}
			first, _, _ := strings.Cut(p.Stack, "\n")
			if !strings.Contains(p.Stack, "panics_test.go:") || !strings.Contains(first, "internal/panics.") && !strings.Contains(first, "runtime.") {
				t.Errorf("the stack is\n%s", p.Stack)
			}
			if strings.Contains(p.Stack, "secret") || strings.Contains(p.Stack, "0x") {
				t.Errorf("the stack has arguments:\n%s", p.Stack)
			}
		})
	}
}

func TestStackOfAPanicDuringAnotherBeginsAtTheLast(t *testing.T) {
	t.Parallel()
	p := catch(func() {
		defer fail("second")
		panic("first")
	})
	if first, _, _ := strings.Cut(p.Stack, "\n"); !strings.HasSuffix(first, ".fail") {
		t.Errorf("the stack is\n%s", p.Stack)
	}
}

func TestReportReachesTheHandler(t *testing.T) {
	Report(&Panic{What: "nobody hears of it"})
	var heard *Panic
	Handle(func(p *Panic) { heard = p })
	defer handler.Store(nil)
	p := &Panic{What: "heard of"}
	if Report(p); heard != p {
		t.Errorf("heard of %v, want %v", heard, p)
	}
}
