package wsgateway

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"sync"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/durable"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

// readyRecordKept is how long it is kept that an upstream is ready, which is as good as
// no record: long enough that every process with the same storage has learned it.
const readyRecordKept = time.Hour

// upstreamState is the record of what an operator wants of an upstream.
type upstreamState struct {
	Address string    `json:"address"`
	State   string    `json:"state"`
	Set     time.Time `json:"set"`
}

// id is made of the address, so that it is the same in every process.
func (s *upstreamState) id() string {
	sum := sha256.Sum256([]byte(s.Address))
	return hex.EncodeToString(sum[:10])
}

// over reports whether the record says nothing any more.
func (s *upstreamState) over(now time.Time) bool {
	return s.State == balance.Ready.String() && now.Sub(s.Set) > readyRecordKept
}

// upstreamStates are the records of what operators want of upstreams.
type upstreamStates struct {
	set *live.Set

	mu    sync.Mutex // it comes before the set's locks
	known map[string]upstreamState
}

// stateNamed is the state that an operator may name so.
func stateNamed(name string) (balance.State, error) {
	for _, state := range []balance.State{balance.Ready, balance.Drain, balance.Maintenance} {
		if name == state.String() {
			return state, nil
		}
	}
	return 0, fmt.Errorf("state %q is unknown: use ready, drain or maintenance", name)
}

// put sets the state of an upstream, and returns the record of it.
func (s *upstreamStates) put(address string, state balance.State) upstreamState {
	record := upstreamState{address, state.String(), time.Now().UTC().Truncate(time.Second)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[record.id()] = record
	s.set.SetState(address, state)
	return record
}

// Learn implements durable.Shelf.
func (s *upstreamStates) Learn(id string, data []byte) (kept []byte, err error) {
	var record upstreamState
	if err := json.Unmarshal(data, &record); err != nil {
		return nil, err
	}
	state, err := stateNamed(record.State)
	switch {
	case err != nil:
		return nil, err
	case record.Address == "" || record.id() != id:
		return nil, errors.New("it is no state of an upstream")
	case record.over(time.Now()):
		return nil, durable.ErrLapsed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[id] = record
	s.applyLocked(record.Address, state)
	return nil, nil
}

// applyLocked sets a state unless it is the present one, whose drain is under way.
func (s *upstreamStates) applyLocked(address string, state balance.State) {
	if s.set.Ledger.Look(address).State != state {
		s.set.SetState(address, state)
	}
}

// Forget implements durable.Shelf.
func (s *upstreamStates) Forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if record, ok := s.known[id]; ok {
		delete(s.known, id)
		s.applyLocked(record.Address, balance.Ready)
	}
}

// All implements durable.Shelf.
func (s *upstreamStates) All() iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for id, record := range s.copy() {
			data, err := json.Marshal(record)
			if err == nil && !yield(id, data) {
				return
			}
		}
	}
}

func (s *upstreamStates) copy() map[string]upstreamState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.known)
}

// Lapse implements durable.Shelf.
func (s *upstreamStates) Lapse(now time.Time) (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, record := range s.known {
		if record.over(now) {
			ids = append(ids, id)
			delete(s.known, id)
		}
	}
	return ids
}

// Interface guards
var _ durable.Shelf = (*upstreamStates)(nil)
