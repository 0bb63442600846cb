package bulletin

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
)

const (
	patience     = time.Second     // of those who share
	callTime     = 5 * time.Second // that the engine has for a call
	loadTime     = time.Minute     // for all records
	messageAgain = 'p'             // the message that there is something new; it says nothing else
)

// ErrLater is what Share returns for what the fleet will be told later.
var ErrLater = errors.New("the engine of the fleet does not answer: the other nodes are told when it does")

// Share tells the fleet a record, or with nil that it was deleted. It waits until that is
// done, for a second at most. ErrLater says that the others do not have it yet; they get
// it as soon as the engine is back. Any other error says that they never will.
func (b *Board) Share(ctx context.Context, kind, id string, data []byte) error {
	r := ref{kind, id}
	if err := b.check(r, data); err != nil {
		return err
	}
	told, err := b.outbox.put(r, bytes.Clone(data))
	if err != nil {
		return err
	}
	if b.current() == nil {
		return ErrLater
	}
	b.wakeUp()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-told:
		return nil
	case <-ctx.Done():
	case <-b.ctx.Done():
	}
	return ErrLater
}

// Untold returns what the fleet was not told yet, with the IDs and the data that Share got.
func (b *Board) Untold() []fleet.Record { return b.outbox.all() }

// flush tells the engine what waits in the outbox.
func (b *Board) flush(l *link) error {
	some := b.outbox.next()
	if len(some) == 0 {
		return nil
	}
	for ; len(some) > 0; some = b.outbox.next() {
		records, nonces := make([]fleet.Record, len(some)), make([]nonce, len(some))
		for i, e := range some {
			records[i] = b.record(e.ref, e.version)
			nonces[i] = nonceOf(records[i].Data)
		}
		b.outbox.expect(some, nonces)
		if err := b.publish(l, records); err != nil {
			return err
		}
		b.outbox.done(some)
	}
	b.call(l)
	return nil
}

// record is how the engine gets a version.
func (b *Board) record(r ref, v version) fleet.Record {
	return fleet.Record{Kind: r.kind, ID: b.sealer.nameOf(r), Data: b.sealer.sealVersion(r, v)}
}

// repeat tells the engine what it lacks.
func (b *Board) repeat(l *link, records []fleet.Record) error {
	for len(records) > 0 {
		n := min(atOnce, len(records))
		if err := b.publish(l, records[:n]); err != nil {
			return err
		}
		records = records[n:]
	}
	return nil
}

func (b *Board) publish(l *link, records []fleet.Record) error {
	ctx, cancel := context.WithTimeout(l.ctx, callTime)
	defer cancel()
	return l.engine.Publish(ctx, records...)
}

// call has all nodes look at the log. Without it they do at their next beat.
func (b *Board) call(l *link) {
	ctx, cancel := context.WithTimeout(l.ctx, callTime)
	defer cancel()
	_ = l.engine.Tell(ctx, "", []byte{messageAgain})
}
