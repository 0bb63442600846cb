package stream

import (
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// LastActive returns when the last event ended; of other types, when anything came.
func (s *Stream) LastActive() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastActive.time()
}

// Counts counts what has passed: events as messages, and bytes of the body.
func (s *Stream) Counts() (fromClient, fromUpstream wsframe.Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fromClient, s.countsLocked()
}

// Pending is about what is held for a side, which a stream does not.
func (s *Stream) Pending() (toClient, toUpstream int) { return 0, 0 }

// Look returns what there is to see of the stream.
func (s *Stream) Look(now time.Time) relay.Look {
	s.mu.Lock()
	defer s.mu.Unlock()
	return relay.Look{FromUpstream: s.countsLocked(), PaceFromUpstream: s.marks.pace(momentOf(now), s.events.count, s.bytes), LastActive: s.lastActive.time()}
}

const (
	markEvery = 5 * time.Second  // how old the newer mark is at least when the next is set
	paceQuiet = 10 * time.Second // for how long nothing may have come where there is a pace
	paceLeast = time.Second      // the shortest time that a pace is taken over
)

// marks are two moments and what had come until then. They are set when something comes.
type marks struct{ newer, older mark }

type mark struct {
	at              moment
	messages, bytes uint64
}

// note sets a mark at what has come before now, if one is due.
func (m *marks) note(now moment, messages, bytes uint64) {
	since := now.sub(m.newer.at)
	if since < markEvery {
		return
	}
	m.older, m.newer = m.newer, mark{now, messages, bytes}
	if since >= 2*markEvery {
		m.older = mark{now.add(-markEvery), messages, bytes} // since when nothing came
	}
}

// pace is how much came in a second, since the mark that is nearer to ten seconds old.
func (m *marks) pace(now moment, messages, bytes uint64) relay.Pace {
	from := m.older
	if since := now.sub(m.newer.at); since >= paceQuiet {
		return relay.Pace{}
	} else if since >= markEvery {
		from = m.newer
	}
	seconds := max(now.sub(from.at), paceLeast).Seconds()
	return relay.Pace{Messages: float64(messages-from.messages) / seconds, Bytes: float64(bytes-from.bytes) / seconds}
}
