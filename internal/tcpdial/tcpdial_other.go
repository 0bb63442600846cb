//go:build !linux || 386

package tcpdial

import (
	"context"
	"net"
	"time"
)

// Dial returns ErrUnsupported on this system.
func Dial(context.Context, Target, []byte, time.Time) (net.Conn, error) {
	return nil, ErrUnsupported
}

// Connect returns ErrUnsupported on this system.
func Connect(context.Context, Target, time.Time) (net.Conn, error) {
	return nil, ErrUnsupported
}
