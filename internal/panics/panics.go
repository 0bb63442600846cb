// Package panics describes panics that were caught, so that one of them ends
// what it happened to and not the process. A description can be logged: it shows
// nothing of what the program was working on, which may be a credential or what
// a client has sent.
package panics

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
)

// maxFrames bounds a stack.
const maxFrames = 64

// Panic is one that was caught.
type Panic struct {
	What  string // what the runtime said, or else the type of the value
	Stack string // functions and lines, the panicking one first, without arguments
}

// Fault is what code of ours panics with. Unlike that of other values, its text is
// shown: it says nothing of what the program was working on.
type Fault string

// Caught describes the panic whose value recover has returned. It is called by
// the deferred function that called recover.
func Caught(value any) *Panic {
	return &Panic{What: what(value), Stack: stack()}
}

// what shows a value that is the runtime's own, which knows types and numbers
// only. Any other may have been made of anything.
func what(value any) string {
	switch value := value.(type) {
	case runtime.Error:
		return value.Error()
	case Fault:
		return string(value)
	}
	return fmt.Sprintf("a value of type %T", value)
}

// stack returns where the goroutine was when it panicked. Unlike that of
// runtime/debug it has no arguments, which may be parts of a key.
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
			b.Reset() // those were the deferred ones
		case frame.Function != "":
			fmt.Fprintf(&b, "%s\n\t%s:%d\n", frame.Function, frame.File, frame.Line)
		}
		if !more {
			return b.String()
		}
	}
}

// handler is who hears of the panics that nobody else can be told of.
var handler atomic.Pointer[func(*Panic)]

// Handle makes f hear of panics that nobody else can be told of. It must not
// panic itself.
func Handle(f func(*Panic)) { handler.Store(&f) }

// Contain keeps a panic in what defers it from the process, and reports it.
func Contain() {
	if value := recover(); value != nil {
		Report(Caught(value))
	}
}

// Report tells of a panic, if there is anyone to hear of it.
func Report(p *Panic) {
	if f := handler.Load(); f != nil {
		(*f)(p)
	}
}
