package bulletin

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/durable"
)

// The kinds of records: numbers, of which the larger counts, and words.
const (
	ends   = "revocations"
	states = "upstreams"
)

// shelf is in memory alone.
type shelf struct {
	larger bool // of two numbers the larger counts

	mu      sync.Mutex
	records map[string]string
	learned int
}

// Learn implements durable.Shelf.
func (s *shelf) Learn(id string, data []byte) (kept []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.learned++
	switch text := string(data); text {
	case "damaged":
		return nil, errors.New("it is damaged")
	case "lapsed":
		return nil, durable.ErrLapsed
	case "panic":
		panic("a shelf panicked")
	default:
		if known, ok := s.records[id]; ok && s.larger && number(known) > number(text) {
			return []byte(known), nil
		}
		s.records[id] = text
	}
	return nil, nil
}

func number(text string) int {
	n, _ := strconv.Atoi(text)
	return n
}

// Forget implements durable.Shelf.
func (s *shelf) Forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.records, id)
}

// All implements durable.Shelf.
func (s *shelf) All() iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for id, text := range s.copy() {
			if !yield(id, []byte(text)) {
				return
			}
		}
	}
}

// Lapse implements durable.Shelf.
func (*shelf) Lapse(time.Time) []string { return nil }

func (s *shelf) copy() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.records)
}

// node is a process with a Board, and what membership does for it.
type node struct {
	t       testing.TB
	id      string
	engine  fleet.Engine
	board   *Board
	shelves map[string]*shelf
	logs    *observer.ObservedLogs
	pokes   chan struct{}
	end     context.CancelFunc
	over    chan struct{}

	mu     sync.Mutex
	stored map[ref]string // in the node's own storage
	away   bool           // the node reaches nothing
}

// options are what is special about a node; the zero value is as usual.
type options struct {
	secret string
	stored map[ref]string // by a process before
	answer func(kind string, question []byte) []byte
	engine func(fleet.Engine) fleet.Engine
}

// start starts a node that begins to join at once.
func start(t testing.TB, f *memory.Fleet, id string, o options) *node {
	core, logs := observer.New(zapcore.DebugLevel)
	n := &node{
		t: t, id: id, engine: f.Engine(), logs: logs, stored: make(map[ref]string), pokes: make(chan struct{}, 1), over: make(chan struct{}),
		shelves: map[string]*shelf{ends: {larger: true, records: map[string]string{}}, states: {records: map[string]string{}}},
	}
	if o.engine != nil {
		n.engine = o.engine(n.engine)
	}
	for r, text := range o.stored {
		n.stored[r] = text
		n.shelves[r.kind].records[r.id] = text
	}
	shelves := make(map[string]durable.Shelf)
	for kind, s := range n.shelves {
		shelves[kind] = s
	}
	n.board = New(Config{
		ID: id, Secret: []byte("secret" + o.secret), Shelves: shelves, Adopts: map[string]bool{states: true}, Logger: zap.New(core),
		Keep: n.keep, Poke: n.poke, Answer: o.answer,
	})
	ctx, end := context.WithCancel(context.Background())
	n.end = end
	go n.run(ctx)
	return n
}

func (n *node) poke() {
	select {
	case n.pokes <- struct{}{}:
	default:
	}
}

func (n *node) keep(kind, id string, data []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if data == nil {
		delete(n.stored, ref{kind, id})
	} else {
		n.stored[ref{kind, id}] = string(data)
	}
}

// isolate has the node reach nothing, or again everything.
func (n *node) isolate(away bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.away = away
}

func (n *node) isAway() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.away
}

// run gives signs of life, as membership does.
func (n *node) run(ctx context.Context) {
	defer close(n.over)
	seq, last, joined := uint64(0), uint64(0), false
	for ctx.Err() == nil {
		var err error
		seq++
		switch {
		case n.isAway():
			err = errors.New("away")
		case joined:
			err = n.beat(seq, last)
		default:
			if err = n.engine.Assert(ctx, &fleet.Share{Node: n.id, Seq: seq, Beat: fleet.Beat{Void: 10 * time.Second}}); err == nil {
				n.board.Joined(ctx, n.engine)
			}
		}
		pause := 3 * time.Second
		switch {
		case err == nil:
			if last = seq; !joined {
				joined, pause = true, 0
			}
		case errors.Is(err, fleet.ErrLost):
			joined, pause = false, 0
		default:
			n.board.Left()
			joined, pause = false, time.Second
		}
		n.wait(ctx, pause, joined)
	}
	n.board.Left()
}

// wait waits for the time of the next beat, or a poke.
func (n *node) wait(ctx context.Context, pause time.Duration, pokes bool) {
	var poked <-chan struct{}
	if pokes {
		poked = n.pokes
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-poked:
	case <-ctx.Done():
	}
}

func (n *node) beat(seq, last uint64) error {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	answer, err := n.engine.Exchange(ctx, &fleet.Batch{
		Node: n.id, Seq: seq, Last: last, Beat: &fleet.Beat{Void: 10 * time.Second, After: n.board.Position()},
	})
	if err == nil {
		n.board.Heard(ctx, n.engine, answer)
	}
	return err
}

// stop ends the process. It returns what is in its storage.
func (n *node) stop() map[ref]string {
	n.end()
	<-n.over
	n.board.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.stored) // what was said just now may still come
}

// say is what the operator says on the node.
func (n *node) say(kind, id, text string) error {
	s := n.shelves[kind]
	data := []byte(text)
	s.mu.Lock()
	if known, ok := s.records[id]; ok && s.larger && number(known) > number(text) {
		data = []byte(known)
	}
	s.records[id] = string(data)
	s.mu.Unlock()
	n.keep(kind, id, data)
	return n.board.Share(context.Background(), kind, id, data)
}

// unsay deletes a record on the node.
func (n *node) unsay(kind, id string) error {
	n.shelves[kind].Forget(id)
	n.keep(kind, id, nil)
	return n.board.Share(context.Background(), kind, id, nil)
}

// text is all that is on the shelves of a node.
func text(records map[ref]string) string {
	all := make([]string, 0, len(records))
	for r, text := range records {
		all = append(all, fmt.Sprintf("%s/%s=%s", r.kind, r.id, text))
	}
	return strings.Join(sorted(all), " ")
}

func (n *node) records() map[ref]string {
	all := make(map[ref]string)
	for kind, s := range n.shelves {
		for id, text := range s.copy() {
			all[ref{kind, id}] = text
		}
	}
	return all
}

// want is about what is on the shelves, and in the storage.
func (n *node) want(want string) {
	n.t.Helper()
	if got := text(n.records()); got != want {
		n.t.Errorf("%s has %q, want %q", n.id, got, want)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if got := text(n.stored); got != want {
		n.t.Errorf("%s has stored %q, want %q", n.id, got, want)
	}
}

// inBubble runs f with a fleet in a bubble.
func inBubble(t *testing.T, f func(t *testing.T, f *memory.Fleet)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { f(t, memory.New(time.Now)) })
}

// settle lets beats pass.
func settle() {
	bubble.Elapse(10 * time.Second)
	synctest.Wait()
}

func stopAll(nodes ...*node) {
	for _, n := range nodes {
		n.stop()
	}
}
