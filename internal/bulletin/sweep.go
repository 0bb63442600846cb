package bulletin

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/internal/durable"
)

// sweepEvery is how often the Board looks for what is over in the engine. What was over
// the time before as well is deleted, so that a node whose clock is wrong by hours deletes
// nothing that is in force.
const sweepEvery = 6 * time.Hour

// sweeper finds what is over in the engine, which forgets nothing by itself. It belongs to
// the goroutine that works.
type sweeper struct {
	due    *time.Timer
	lapsed map[ref]nonce // what was over at the last look
}

// nextSweep is when to look again: not at the same time as the other nodes.
func nextSweep() time.Duration {
	return sweepEvery + rand.N(sweepEvery/8) //nolint:gosec // nobody gains from guessing it
}

// sweep deletes from the engine what has been over for long.
func (b *Board) sweep(l *link) error {
	records, _, _, err := b.load(l)
	if err != nil {
		return err
	}
	own := make(map[ref]bool)
	for kind := range b.config.Shelves {
		for id := range b.all(kind) {
			own[ref{kind, id}] = true
		}
	}
	var over []fleet.Record
	lapsed := make(map[ref]nonce)
	for _, record := range records {
		r, n := ref{record.Kind, record.ID}, nonceOf(record.Data)
		if own[r] || b.outbox.isWaiting(r) {
			continue
		}
		if v, ok := b.open(record); !ok || !b.isOver(r, v) {
			continue
		}
		if b.sweeper.lapsed[r] == n {
			over = append(over, b.record(r, version{}))
		} else {
			lapsed[r] = n
		}
	}
	b.sweeper.lapsed = lapsed
	return b.repeat(l, over)
}

// isOver reports whether a record that is on no shelf is over. If not, it is on one now.
func (b *Board) isOver(r ref, v version) bool {
	_, err := b.learn(r, v.data)
	if err == nil {
		b.outbox.mark(r, v)
		b.keep(r, v.data)
	}
	return errors.Is(err, durable.ErrLapsed)
}
