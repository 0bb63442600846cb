package relay

import (
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// Pace is how much comes from a side in a second.
type Pace struct{ Messages, Bytes float64 }

// Look is what there is to see of a connection at one moment.
type Look struct {
	FromClient, FromUpstream         wsframe.Counts
	PaceFromClient, PaceFromUpstream Pace      // over some ten seconds
	LastActive                       time.Time // as of [Relay.LastActive]
	RTT                              time.Duration
	Pending                          int // how many bytes are held that a side has not taken
}

// Look returns what there is to see of the connection now. RTT is the mean of
// [Relay.RTT].
func (r *Relay) Look(now time.Time) Look {
	r.mu.Lock()
	defer r.mu.Unlock()
	look := Look{
		FromClient:   r.client.scan.Counts(),
		FromUpstream: r.upstream.scan.Counts(),
		LastActive:   moment(r.lastActive),
		RTT:          r.guard.meanRTT(),
		Pending:      int(r.client.held.Load()) + int(r.upstream.held.Load()),
	}
	if at := monotonic(now); at-r.lastActive < int64(paceQuiet) {
		look.PaceFromClient, look.PaceFromUpstream = r.marks.pace(at, &look)
	}
	return look
}

const (
	// tickOfMarks is the unit in which marks have the time: 2^20 nanoseconds.
	tickOfMarks = 20

	// markEvery is how old the newer mark is at least when the next is set: some 5s.
	markEvery = uint32(5*time.Second>>tickOfMarks) + 1

	// paceLeast is the shortest time that a pace is taken over, which a connection
	// that has just been opened has not lasted.
	paceLeast = uint32(time.Second>>tickOfMarks) + 1

	// paceQuiet is for how long nothing may have come where there is a pace.
	paceQuiet = 10 * time.Second
)

// marks are two moments and what had come until then. The relay sets them when something
// comes, so that a quiet connection costs nothing, and a busy one a comparison. Whatever
// has come since the newer mark came within [markEvery] of it, or it had set a mark.
type marks struct{ newer, older mark }

// mark holds the lower part of each number: only differences count.
type mark struct {
	at                                      uint32
	messagesFromClient, bytesFromClient     uint32
	messagesFromUpstream, bytesFromUpstream uint32
}

// due reports whether the marks are to be moved. It is false also where now is somewhat
// before the newer mark: whoever looks, or passes something on, took the time before, and
// then somebody else set a mark.
func (m *marks) due(now int64) bool {
	since := markTime(now) - m.newer.at
	return since >= markEvery && since <= ^uint32(0)-markEvery
}

// move sets a mark at what has come before now.
func (m *marks) move(now int64, client, upstream *wsframe.Scanner) {
	c, u := client.Counts(), upstream.Counts()
	next := mark{markTime(now), uint32(c.Messages), markBytes(c.Bytes), uint32(u.Messages), markBytes(u.Bytes)}
	m.older = m.newer
	if next.at-m.newer.at >= 2*markEvery {
		m.older = next
		m.older.at -= markEvery // since when nothing came
	}
	m.newer = next
}

// pace is what came since the mark that is nearer to ten seconds old.
func (m *marks) pace(now int64, look *Look) (fromClient, fromUpstream Pace) {
	from, at := &m.older, markTime(now)
	switch {
	case m.due(now):
		from = &m.newer
	case at-m.newer.at >= markEvery: // the mark is newer than now
		at = m.newer.at
	}
	seconds := time.Duration(int64(max(at-from.at, paceLeast)) << tickOfMarks).Seconds()
	fromClient = paceSince(&look.FromClient, from.messagesFromClient, from.bytesFromClient, seconds)
	fromUpstream = paceSince(&look.FromUpstream, from.messagesFromUpstream, from.bytesFromUpstream, seconds)
	return fromClient, fromUpstream
}

func paceSince(now *wsframe.Counts, messages, bytes uint32, seconds float64) Pace {
	return Pace{
		Messages: float64(uint32(now.Messages)-messages) / seconds,
		Bytes:    float64(bytesSince(now.Bytes, bytes)) / seconds,
	}
}

func markTime(now int64) uint32 { return uint32(now >> tickOfMarks) }

// coarse marks a number of bytes that is counted in units of 16: those of a connection
// that has carried 2 GiB, which may carry more than 4 in a few seconds.
const (
	coarse     = 1 << 31
	coarseUnit = 4
)

func markBytes(bytes uint64) uint32 {
	if bytes < coarse {
		return uint32(bytes)
	}
	return uint32(bytes>>coarseUnit) | coarse
}

func bytesSince(bytes uint64, marked uint32) uint64 {
	if marked < coarse {
		return bytes - uint64(marked)
	}
	return uint64((uint32(bytes>>coarseUnit)-marked)&(coarse-1)) << coarseUnit
}
