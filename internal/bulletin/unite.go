package bulletin

import (
	"context"
	"hash/maphash"
	"slices"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
)

// union is what is to be done about what is on the shelves and in the engine.
type union struct {
	board *Board
	link  *link
	// own are the sums of what is on the shelves, without what the engine has as well.
	own   map[ref]uint64
	seed  maphash.Seed
	adopt bool // the engine knows better which records there are, of some kinds
}

// unite makes the shelves and the engine say the same, after which the Board follows the
// log. A process that joins for the first time adopts what the engine has, unless the
// engine was empty. In all other cases the engine has lost its records, or the Board the
// thread, and nothing is forgotten.
func (b *Board) unite(l *link) error {
	b.outbox.begin()
	records, position, fresh, err := b.load(l)
	if err != nil {
		return err
	}
	b.fresh = b.fresh || fresh && !b.united
	u := &union{b, l, make(map[ref]uint64), maphash.MakeSeed(), !b.united && !b.fresh}
	if err := b.flush(l); err != nil {
		return err
	}
	u.sum()
	for some := range slices.Chunk(records, atOnce) {
		if err := u.take(some); err != nil {
			return err
		}
		clear(some) // it may be much
	}
	if err := u.give(); err != nil {
		return err
	}
	b.united, b.fresh = true, false
	b.setFollowed(position, true)
	b.call(l)
	b.poke()
	return nil
}

// load returns the records of the engine that this node can read, by their own IDs.
func (b *Board) load(l *link) (records []fleet.Record, position string, fresh bool, err error) {
	ctx, cancel := context.WithTimeout(l.ctx, loadTime)
	defer cancel()
	records, position, fresh, err = l.engine.Load(ctx)
	return b.known(records), position, fresh, err
}

// sum adds up what is on the shelves.
func (u *union) sum() {
	for kind := range u.board.config.Shelves {
		for id, data := range u.board.all(kind) {
			u.own[ref{kind, id}] = maphash.Bytes(u.seed, data)
		}
	}
}

// take learns records of the engine.
func (u *union) take(records []fleet.Record) error {
	var again []fleet.Record
	for _, record := range records {
		r := ref{record.Kind, record.ID}
		v, ok := u.board.open(record)
		sum, isOwn := u.own[r]
		switch {
		case !ok || u.board.outbox.isTouched(r):
			delete(u.own, r)
		case isOwn && sum == maphash.Bytes(u.seed, v.data):
			u.board.outbox.mark(r, version{v.data, max(v.stamp, u.board.outbox.stamp(r)), false})
			delete(u.own, r)
		case isOwn && !u.adopt && v.stamp < u.board.outbox.stamp(r):
			// It is given.
		default:
			again = u.board.learnTo(again, r, v, isOwn)
			delete(u.own, r)
		}
	}
	if err := u.board.repeat(u.link, again); err != nil {
		return err
	}
	return u.board.flush(u.link)
}

// give tells the engine what it lacks, or forgets that.
func (u *union) give() error {
	for kind := range u.board.config.Shelves {
		give := u.giveKind
		if u.adopt && u.board.config.Adopts[kind] {
			give = u.dropKind
		}
		if err := give(kind); err != nil {
			return err
		}
	}
	return nil
}

func (u *union) dropKind(kind string) error {
	for r := range u.own {
		if r.kind == kind && !u.board.outbox.isTouched(r) {
			u.board.forget(r)
		}
	}
	return nil
}

// giveKind tells the engine all at once where others may adopt it.
func (u *union) giveKind(kind string) error {
	var some []fleet.Record
	for id, data := range u.board.all(kind) {
		r := ref{kind, id}
		if _, missing := u.own[r]; !missing || u.board.outbox.isTouched(r) {
			continue
		}
		some = append(some, u.board.record(r, version{data, u.board.outbox.stamp(r), true}))
		if len(some) < atOnce || u.board.config.Adopts[kind] {
			continue
		}
		if err := u.publish(some); err != nil {
			return err
		}
		some = nil
	}
	return u.publish(some)
}

func (u *union) publish(some []fleet.Record) error {
	if len(some) > 0 {
		if err := u.board.publish(u.link, some); err != nil {
			return err
		}
	}
	return u.board.flush(u.link)
}
