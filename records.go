package wsgateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/durable"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/revocation"
)

// The kinds of records, as Caddy's storage has them under ws_gateway/.
const (
	revocationRecords = "revocations"
	stateRecords      = "upstreams"
)

// records keep in Caddy's storage what operators have said, so that it outlives the
// process, and what other processes with the same storage are told counts here as well.
type records struct {
	set    *live.Set
	book   *durable.Book
	states *upstreamStates
	ending atomic.Bool // revoked connections are about to be looked for

	announces atomic.Pointer[announce] // nil where there is no fleet to tell
	later     laterWrites
}

// announce tells the fleet a record, or with no data that it was deleted. An error says
// that the fleet will be told later.
type announce func(ctx context.Context, kind, id string, data []byte) error

func newRecords(set *live.Set) *records {
	k := &records{set: set, states: &upstreamStates{set: set, known: make(map[string]upstreamState)}}
	k.book = durable.New(k.shelves())
	return k
}

// shelves are the records in memory, by their kinds.
func (k *records) shelves() map[string]durable.Shelf {
	return map[string]durable.Shelf{revocationRecords: revocationShelf{k}, stateRecords: k.states}
}

// announce has the fleet told of what operators say from now on; nil: nobody.
func (k *records) announce(to announce) {
	if to == nil {
		k.announces.Store(nil)
		return
	}
	k.announces.Store(&to)
}

// tell tells the fleet, if there is one. Where it cannot be told now, it is told when it
// can be, which is no reason to refuse what the operator wants.
func (k *records) tell(ctx context.Context, kind, id string, data []byte) {
	if to := k.announces.Load(); to != nil {
		_ = (*to)(ctx, kind, id, data)
	}
}

// attach uses the storage of a configuration until release.
func (k *records) attach(ctx caddy.Context) (release func()) {
	return k.book.Attach(ctx, ctx.Storage(), ctx.Logger())
}

// revoke puts a revocation in force, and keeps it. It returns the revocation as it is kept
// and how many connections it ended. The error is revocation.ErrFull, or an errNotKept.
func (k *records) revoke(ctx context.Context, r revocation.Revocation) (kept revocation.Revocation, ended int, err error) {
	if kept, ended, err = k.set.Revoke(r); err != nil {
		return kept, ended, err
	}
	return kept, ended, k.put(ctx, revocationRecords, kept.ID, kept)
}

// pardon puts a revocation out of force, unless the storage fails.
func (k *records) pardon(ctx context.Context, id string) error {
	k.later.drop(recordName{revocationRecords, id})
	if err := k.book.Delete(ctx, revocationRecords, id); err != nil {
		return err
	}
	k.tell(ctx, revocationRecords, id, nil)
	return nil
}

// setState sets the state of an upstream, and keeps it. The error is an errNotKept.
func (k *records) setState(ctx context.Context, address string, state balance.State) error {
	record := k.states.put(address, state)
	return k.put(ctx, stateRecords, record.id(), record)
}

// keepSoon writes a record that the fleet has told, or deletes it. What cannot be written is
// logged, and tried again, by the book; what cannot be deleted stays where it is.
func (k *records) keepSoon(kind, id string, data []byte) {
	k.later.add(recordName{kind, id}, data, func(name recordName, data []byte) {
		if data == nil {
			_ = k.book.Delete(context.Background(), name.kind, name.id)
			return
		}
		_ = k.book.Put(context.Background(), name.kind, name.id, data)
	})
}

// errNotKept is for what is in force, and would not be after a restart.
var errNotKept = errors.New("this is in force, but could not be written to Caddy's storage")

func (k *records) put(ctx context.Context, shelf, id string, record any) error {
	data, err := json.Marshal(record)
	if err == nil {
		k.later.drop(recordName{shelf, id})
		err = k.book.Put(ctx, shelf, id, data)
		k.tell(ctx, shelf, id, data)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errNotKept, err)
	}
	return nil
}

// revocationShelf is the list of revocations as the book sees it.
type revocationShelf struct{ *records }

// Learn implements durable.Shelf. Where another process gave the same revocation an
// earlier end, the later one counts, and is stored in its place.
func (s revocationShelf) Learn(id string, data []byte) (kept []byte, err error) {
	var r revocation.Revocation
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	if !r.IsSound() || r.ID != id {
		return nil, errors.New("it is no revocation")
	}
	now := time.Now()
	if known := s.set.Revocations.Get(id); r.Over(now) && (known == nil || known.Over(now)) {
		return nil, durable.ErrLapsed
	}
	known := s.set.Revocations.Learn(r)
	if !s.ending.Swap(true) {
		go s.endRevoked()
	}
	if known.Until.After(r.Until) {
		return json.Marshal(known)
	}
	return nil, nil
}

// endRevoked ends the connections whose credential was revoked, once for all revocations
// that are learned meanwhile.
func (s revocationShelf) endRevoked() {
	defer contain(nil)
	s.ending.Store(false)
	s.set.EndRevoked()
}

// Forget implements durable.Shelf.
func (s revocationShelf) Forget(id string) { s.set.Revocations.Remove(id) }

// All implements durable.Shelf.
func (s revocationShelf) All() iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for r := range s.set.Revocations.All() {
			data, err := json.Marshal(r)
			if err == nil && !yield(r.ID, data) {
				return
			}
		}
	}
}

// Lapse implements durable.Shelf.
func (s revocationShelf) Lapse(now time.Time) []string { return s.set.Revocations.Lapse(now) }

// Interface guards
var _ durable.Shelf = revocationShelf{}
