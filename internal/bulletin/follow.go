package bulletin

import (
	"errors"
	"iter"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/internal/durable"
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// fullPage is how many records an answer has where there are more.
const fullPage = 1000

// follow learns what was heard. Where the log does not reach back far enough, the Board
// does not follow any more.
func (b *Board) follow(l *link) error {
	h := b.takeHeard()
	switch {
	case h == nil:
		return nil
	case h.answer.Gap:
		b.setFollowed("", false)
		return nil
	}
	again := b.learnAll(b.latest(b.known(h.answer.Records)))
	if len(again) > 0 {
		if err := b.repeat(l, again); err != nil {
			return err // the next answer has it all once more
		}
		b.call(l)
	}
	b.setFollowed(h.answer.Position, true)
	if len(h.answer.Records) >= fullPage {
		b.poke()
	}
	return nil
}

// takeHeard returns what was heard, unless it does not go on from where the Board is.
func (b *Board) takeHeard() *heard {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.heard
	b.heard = nil
	if h == nil || !b.followed || h.after != b.position {
		return nil
	}
	return h
}

func (b *Board) setFollowed(position string, followed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.position, b.followed = position, followed
}

// known returns the records that are for this node, by their own IDs.
func (b *Board) known(records []fleet.Record) []fleet.Record {
	known := make([]fleet.Record, 0, len(records))
	for _, record := range records {
		if b.config.Shelves[record.Kind] == nil {
			b.troubles.say(isUnknown, "", nil)
			continue
		}
		id, ok := b.sealer.idOf(record.Kind, record.ID)
		if !ok {
			b.troubles.say(isSealedOtherwise, record.Kind, errSealed)
			continue
		}
		record.ID = id
		known = append(known, record)
	}
	return known
}

// latest returns the last of each record that is news, in order.
func (b *Board) latest(records []fleet.Record) (news []fleet.Record) {
	at := make(map[ref]int, len(records))
	for i, record := range records {
		r := ref{record.Kind, record.ID}
		if b.outbox.isNews(r, nonceOf(record.Data)) {
			at[r] = i
		}
	}
	for i, record := range records {
		if last, ok := at[ref{record.Kind, record.ID}]; ok && last == i {
			news = append(news, record)
		}
	}
	return news
}

// learnAll learns records, and returns what the fleet has to be told once more, because
// this node has what counts more.
func (b *Board) learnAll(records []fleet.Record) (again []fleet.Record) {
	stale := make(map[ref]bool)
	for _, record := range records {
		r := ref{record.Kind, record.ID}
		v, ok := b.open(record)
		switch {
		case !ok || b.outbox.isWaiting(r):
		case v.data == nil:
			b.forget(r)
		case v.again && v.stamp < b.outbox.stamp(r):
			stale[r] = true
		default:
			again = b.learnTo(again, r, v, true)
		}
	}
	if len(stale) > 0 {
		again = b.standing(again, stale)
	}
	return again
}

// standing appends the records on the shelves that are named.
func (b *Board) standing(records []fleet.Record, named map[ref]bool) []fleet.Record {
	for kind := range b.config.Shelves {
		for id, data := range b.all(kind) {
			if r := (ref{kind, id}); named[r] {
				records = append(records, b.record(r, version{data, b.outbox.stamp(r), true}))
			}
		}
	}
	return records
}

// open opens a record that is known.
func (b *Board) open(record fleet.Record) (v version, ok bool) {
	v, err := b.sealer.openVersion(ref{record.Kind, record.ID}, record.Data)
	if err != nil {
		b.troubles.say(isSealedOtherwise, record.Kind, err)
	}
	return v, err == nil
}

// learnTo learns a version, and appends what has to be told in its place, if anything. One
// that is over by now still ends what it took the place of, where that may be on the shelf.
func (b *Board) learnTo(again []fleet.Record, r ref, v version, isThere bool) []fleet.Record {
	kept, err := b.learn(r, v.data)
	switch {
	case errors.Is(err, durable.ErrLapsed) && isThere:
		b.forget(r)
		return again
	case errors.Is(err, durable.ErrLapsed), errors.Is(err, panics.ErrPanicked):
		return again
	case err != nil:
		b.troubles.say(isDamaged, r.kind, err)
		return again
	}
	b.outbox.mark(r, v)
	if kept != nil {
		v.data, v.again = kept, true
		again = append(again, b.record(r, v))
	}
	b.keep(r, v.data)
	return again
}

func (b *Board) learn(r ref, data []byte) (kept []byte, err error) {
	defer panics.ContainInto(&err, nil)
	return b.config.Shelves[r.kind].Learn(r.id, data)
}

func (b *Board) forget(r ref) {
	defer panics.Contain()
	b.outbox.mark(r, version{})
	b.config.Shelves[r.kind].Forget(r.id)
	b.keep(r, nil)
}

func (b *Board) keep(r ref, data []byte) {
	defer panics.Contain()
	if b.config.Keep != nil {
		b.config.Keep(r.kind, r.id, data)
	}
}

// all returns what is on a shelf.
func (b *Board) all(kind string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		defer panics.Contain()
		b.config.Shelves[kind].All()(yield)
	}
}
