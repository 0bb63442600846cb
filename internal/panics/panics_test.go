package panics

import (
	"errors"
	"slices"
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

func TestContainedPanicReachesTheReportOrElseTheHandler(t *testing.T) {
	var handled, reported []*Panic
	Handle(func(p *Panic) { handled = append(handled, p) })
	defer handler.Store(nil)
	report := func(p *Panic) { reported = append(reported, p) }
	into := func(report func(*Panic), value any) (err error) {
		defer ContainInto(&err, report)
		if value != nil {
			fail(value)
		}
		return errors.ErrUnsupported
	}
	func() {
		defer ContainTo(report)
		fail(Fault("one"))
	}()
	func() {
		defer ContainTo(nil)
		fail(Fault("two"))
	}()
	if err := into(report, Fault("three")); !errors.Is(err, ErrPanicked) {
		t.Errorf("%v, want %v", err, ErrPanicked)
	}
	if err := into(nil, Fault("four")); !errors.Is(err, ErrPanicked) {
		t.Errorf("%v, want %v", err, ErrPanicked)
	}
	if err := into(report, nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("without a panic: %v", err)
	}
	texts := func(all []*Panic) (texts []string) {
		for _, p := range all {
			texts = append(texts, p.What)
		}
		return texts
	}
	if got := texts(reported); !slices.Equal(got, []string{"one", "three"}) {
		t.Errorf("reported: %q", got)
	}
	if got := texts(handled); !slices.Equal(got, []string{"two", "four"}) {
		t.Errorf("handled: %q", got)
	}
}
