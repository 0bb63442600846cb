//go:build unix

package terminal

import (
	"os"
	"os/signal"
	"syscall"
)

func notifyResize(resized chan<- os.Signal) { signal.Notify(resized, syscall.SIGWINCH) }

func stopResize(resized chan<- os.Signal) { signal.Stop(resized) }
