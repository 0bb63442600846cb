package live

import (
	"cmp"
	"container/heap"
	"slices"
	"strings"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// Query asks for some of the live connections.
type Query struct {
	Filter
	Limit int
	After string // the ID of the last row that is known; "" for none. Without effect on sorted rows
	Sort  string // one of Sorts, the largest first; "" for the order of IDs
}

// Sorts are what rows can be sorted by.
var Sorts = []string{"age", "idle", "rate", "pending", "rtt"}

// absent is the key of a connection that does not have what is sorted by.
const absent = -1

// sortKeys are how large a connection is. rate is that of the bytes of both sides.
var sortKeys = map[string]func(c *Conn, look *relay.Look, now time.Time) float64{
	"age":  func(c *Conn, _ *relay.Look, now time.Time) float64 { return now.Sub(c.OpenedAt).Seconds() },
	"idle": func(_ *Conn, look *relay.Look, now time.Time) float64 { return now.Sub(look.LastActive).Seconds() },
	"rate": func(_ *Conn, look *relay.Look, _ time.Time) float64 {
		return look.PaceFromClient.Bytes + look.PaceFromUpstream.Bytes
	},
	"pending": func(_ *Conn, look *relay.Look, _ time.Time) float64 { return float64(look.Pending) },
	"rtt": func(_ *Conn, look *relay.Look, _ time.Time) float64 {
		if look.RTT == 0 {
			return absent
		}
		return look.RTT.Seconds()
	},
}

// Rows returns a page of the live connections. What that takes of memory goes by the
// page, and not by how many connections there are; the set's lock is taken for a shard at
// a time.
func (s *Set) Rows(q Query) []Row {
	if key := sortKeys[q.Sort]; key != nil {
		return s.largest(&q, key)
	}
	now := time.Now()
	match := q.locked(now)
	rows := make([]Row, 0, min(q.Limit, s.Len()))
	var seen []sight
	for i := shardOf(q.After); i < len(s.connections.shards) && len(rows) < q.Limit; i++ {
		seen = s.see(i, seen[:0], func(c *Conn) bool { return c.ID > q.After && match(c) })
		slices.SortFunc(seen, func(a, b sight) int { return strings.Compare(a.ID, b.ID) })
		for _, c := range seen[:min(len(seen), q.Limit-len(rows))] {
			look := c.Link.Look(now)
			rows = append(rows, c.row(now, &look))
		}
	}
	return rows
}

// see appends the connections of a shard that match.
func (s *Set) see(i int, seen []sight, match func(*Conn) bool) []sight {
	s.walkShard(i, func(c *Conn) {
		if match(c) {
			seen = append(seen, c.sightLocked())
		}
	})
	return seen
}

// largest returns the connections with the largest keys.
func (s *Set) largest(q *Query, key func(*Conn, *relay.Look, time.Time) float64) []Row {
	now := time.Now()
	match := q.locked(now)
	var best ranking
	var seen []sight
	var one ranked
	for i := range s.connections.unhurried() {
		seen = s.see(i, seen[:0], match)
		for _, one.sight = range seen {
			one.look = one.Link.Look(now)
			one.key = key(one.Conn, &one.look, now)
			best.offer(&one, q.Limit)
		}
	}
	slices.SortFunc(best, func(a, b ranked) int { return b.compare(&a) })
	rows := make([]Row, len(best))
	for i := range best {
		rows[i] = best[i].row(now, &best[i].look)
	}
	return rows
}

// ranked is a connection as it was when its key was taken.
type ranked struct {
	sight
	look relay.Look
	key  float64
}

// compare compares keys; where they are equal, the lower ID counts as the larger.
func (r *ranked) compare(other *ranked) int {
	return cmp.Or(cmp.Compare(r.key, other.key), strings.Compare(other.ID, r.ID))
}

// ranking is a heap of the largest so far, the least of them first.
type ranking []ranked

func (h *ranking) offer(r *ranked, most int) {
	switch {
	case len(*h) < most:
		heap.Push(h, *r)
	case most > 0 && (*h)[0].compare(r) < 0:
		(*h)[0] = *r
		heap.Fix(h, 0)
	}
}

// Len implements heap.Interface.
func (h ranking) Len() int { return len(h) }

// Less implements heap.Interface.
func (h ranking) Less(i, j int) bool { return h[i].compare(&h[j]) < 0 }

// Swap implements heap.Interface.
func (h ranking) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *ranking) Push(x any) {
	r, _ := x.(ranked)
	*h = append(*h, r)
}

// Pop implements heap.Interface. Nothing is ever taken out.
func (*ranking) Pop() any { return nil }

// CompareRows orders rows of several sets as Rows orders those of one.
func CompareRows(by string, a, b *Row) int {
	return cmp.Or(cmp.Compare(b.key(by), a.key(by)), strings.Compare(a.ID, b.ID))
}

// key is how large a row is that was sorted; 0 for all where the order is that of IDs.
func (r *Row) key(by string) float64 {
	switch {
	case r.Present == nil:
		return 0
	case by == "age":
		return r.Age
	case by == "idle":
		return r.Idle
	case by == "rate":
		return r.Rates.BytesFromClient + r.Rates.BytesFromUpstream
	case by == "pending":
		return float64(r.Pending)
	case by == "rtt" && r.RTT == 0:
		return absent
	case by == "rtt":
		return r.RTT
	}
	return 0
}

// Row returns the connection with the ID, live or among the last that have ended; nil
// where there is none.
func (s *Set) Row(id string) *Row {
	c, ok := s.seeOne(id)
	if !ok {
		return s.journal.ended(id)
	}
	now := time.Now()
	look := c.Link.Look(now)
	row := c.row(now, &look)
	return &row
}

func (s *Set) seeOne(id string) (c sight, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.connections.get(id); found != nil {
		return found.sightLocked(), true
	}
	return sight{}, false
}

// Closed returns the connections that have ended last, the latest first: of each gateway
// the last [closedKept], as far as the filter chooses them. The filter's JTI and OlderThan
// are not looked at.
func (s *Set) Closed(f Filter, limit int) []Row { return s.journal.closed(f.ended(), limit) }

// Interface guards
var _ heap.Interface = (*ranking)(nil)
