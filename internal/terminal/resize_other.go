//go:build !unix

package terminal

import "os"

func notifyResize(chan<- os.Signal) {} // the size is looked at whenever something is drawn

func stopResize(chan<- os.Signal) {}
