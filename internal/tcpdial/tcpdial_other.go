//go:build !linux || 386

package tcpdial

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// Dial returns ErrUnsupported on this system.
func Dial(context.Context, netip.AddrPort, []byte, time.Time) (net.Conn, error) {
	return nil, ErrUnsupported
}

// Connect returns ErrUnsupported on this system.
func Connect(context.Context, netip.AddrPort, time.Time) (net.Conn, error) {
	return nil, ErrUnsupported
}
