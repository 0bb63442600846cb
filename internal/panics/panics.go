// Package panics describes panics that were caught, so that a panic ends what it
// happened to and not the process. A description can be logged: it shows nothing of
// what the program was working on, which may be a credential or what a client has sent.
package panics

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
)

// maxFrames bounds a stack.
const maxFrames = 64

// Panic is a panic that was caught.
type Panic struct {
	What  string // the runtime's text or that of a Fault, and else the type of the value
	Stack string // functions and lines, the panicking one first, without arguments
}

// Fault is what code of ours panics with. A Panic shows the text of a Fault, which must
// say nothing of what the program was working on.
type Fault string

// Caught describes the panic whose value recover has returned. It is called by
// the deferred function that called recover.
func Caught(value any) *Panic {
	return &Panic{What: what(value), Stack: stack()}
}

// what returns the text of a Fault, and of the runtime's own values, which show types
// and numbers only. Any other value may have been made of anything.
func what(value any) string {
	switch value := value.(type) {
	case runtime.Error:
		return value.Error()
	case Fault:
		return string(value)
	}
	return fmt.Sprintf("a value of type %T", value)
}

// stack returns where the goroutine was when it panicked. Unlike a stack of
// runtime/debug it shows no arguments, which may be parts of a key.
func stack() string {
	pcs := make([]uintptr, maxFrames)
	all := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	var b strings.Builder
	panicking := false
	for {
		frame, more := all.Next()
		switch {
		case frame.Function == "runtime.gopanic" && !panicking:
			panicking = true
			b.Reset() // of the deferred functions
		case frame.Function != "":
			fmt.Fprintf(&b, "%s\n\t%s:%d\n", frame.Function, frame.File, frame.Line)
		}
		if !more {
			return b.String()
		}
	}
}

// handler is the function that Handle has set.
var handler atomic.Pointer[func(*Panic)]

// Handle has f called for every panic that is reported. f must not panic.
func Handle(f func(*Panic)) { handler.Store(&f) }

// Contain recovers and reports a panic of the function that defers it.
func Contain() {
	if value := recover(); value != nil {
		Report(Caught(value))
	}
}

// ContainTo recovers a panic of the function that defers it, and hands it to
// report, or to Report where report is nil.
func ContainTo(report func(*Panic)) {
	if value := recover(); value != nil {
		reportTo(report, Caught(value))
	}
}

// ErrPanicked stands for the answer that a panic has prevented.
var ErrPanicked = errors.New("it panicked; the log says where")

// ContainInto is ContainTo that also sets the error that the function returns.
func ContainInto(err *error, report func(*Panic)) {
	if value := recover(); value != nil {
		*err = ErrPanicked
		reportTo(report, Caught(value))
	}
}

func reportTo(report func(*Panic), p *Panic) {
	if report == nil {
		report = Report
	}
	report(p)
}

// Report hands a panic that is part of no connection's outcome to the function that
// Handle has set, if any.
func Report(p *Panic) {
	if f := handler.Load(); f != nil {
		(*f)(p)
	}
}
