// Package tcpdial opens TCP connections whose first bytes are ours, with few
// system calls.
//
// A connection to this machine, or to a machine nearby, is often there by the time
// connect has returned. So the first bytes are sent right away, and the dialer waits
// only if the kernel does not take them yet. There is no name to look up, no race
// between address families, and no context to watch until there is something to wait
// for.
package tcpdial

import (
	"context"
	"errors"
	"net"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// ErrUnsupported says that an address, or this system, needs another dialer. The
// connection has not been attempted.
var ErrUnsupported = errors.New("dialing needs the net package")

// ToItself reports whether the connection is that of a port to itself. The kernel makes
// such a connection if nothing listens at a port that the kernel also gives out.
func ToItself(c net.Conn) bool {
	local, remote := c.LocalAddr(), c.RemoteAddr()
	return local.Network() == "tcp" && local.String() == remote.String()
}

// WhenDone calls f in a goroutine of its own when the context is done. Stop, which
// is called once, prevents that, or else waits until f has returned, and reports
// whether it came in time. So nothing that f uses is used by it after that.
func WhenDone(ctx context.Context, f func()) (stop func() bool) {
	returned := make(chan struct{})
	prevent := context.AfterFunc(ctx, func() {
		defer close(returned)
		defer panics.Contain()
		f()
	})
	return func() bool {
		if prevent() {
			return true
		}
		<-returned
		return false
	}
}
