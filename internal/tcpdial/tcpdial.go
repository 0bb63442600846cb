// Package tcpdial opens connections whose first bytes are ours, by TCP or to unix
// sockets, with few system calls.
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
	"net/netip"
	"syscall"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// ErrUnsupported says that an address, or this system, needs another dialer. The
// connection has not been attempted.
var ErrUnsupported = errors.New("dialing needs the net package")

// Target is where a connection goes to.
type Target struct {
	TCP  netip.AddrPort
	Else netip.AddrPort // is tried where there comes no connection to TCP; the zero value for nothing
	Unix string         // the path of a unix socket, or its abstract name behind an @; "" for TCP
}

// addr is the target as the net package has it.
func (t Target) addr() net.Addr {
	if t.Unix != "" {
		return &net.UnixAddr{Name: t.Unix, Net: "unix"}
	}
	return net.TCPAddrFromAddrPort(t.TCP)
}

// Loose is a connection whose socket Go's poller does not know, for as long as nobody
// reads, writes or sets a deadline: each of these has the poller know it for good.
type Loose interface {
	net.Conn

	// Lend returns the descriptor, which stays the connection's, and who was to be kept.
	// ok is false once the socket is not loose any more.
	Lend() (fd int, by Watch, ok bool)

	// Keep has the connection remember who waits for the socket.
	Keep(w Watch)

	// Yield gives the descriptor away, and with it the duty to close it. From then on the
	// connection is closed. Nothing happens where ok is false.
	Yield() (fd int, by Watch, ok bool)
}

// Watch is whoever waits for a loose socket.
type Watch interface {
	// Leave is called once, when the watch has to end: the socket is about to be closed,
	// or to be known to Go's poller. It returns when nothing of the watch uses the
	// descriptor any more.
	Leave(fd int)
}

// ToItself reports whether the connection is that of a port to itself. The kernel makes
// such a connection if nothing listens at a port that the kernel also gives out.
func ToItself(c net.Conn) bool {
	local, remote := c.LocalAddr(), c.RemoteAddr()
	return local.Network() == "tcp" && local.String() == remote.String()
}

// WasThere reports whether the peer had taken a connection, and dropped it, where Dial or
// Connect failed.
func WasThere(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
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
