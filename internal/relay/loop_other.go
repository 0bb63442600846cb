//go:build !linux || noloop || 386

package relay

import (
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/tcpdial"
)

// Where there is no loop, every connection has goroutines.

type (
	place  struct{}
	socket struct{}
)

func (*socket) backlog() (bytes int32, ok bool) { return 0, false }

func (r *Relay) startOnLoop(func(Outcome), func() bool) bool { return false }

func (r *Relay) callLoop() {}

// Await returns ErrNoLoop: there is no loop to wait on.
func Await(tcpdial.Loose, []byte, time.Time) (int, error) { return 0, ErrNoLoop }

// GiveWay does nothing: goroutines take turns.
func GiveWay() {}

// TLSTrouble returns nil: there is no loop that could serve TLS. It tries out what
// is done to connections with TLS all the same, so that the first of them need not.
func TLSTrouble() error {
	_ = tlsTrouble()
	return nil
}

func (layout) tryOnLoop(*trial) error { return nil }
