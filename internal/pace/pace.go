// Package pace tells how much has come of late, from two marks of what had come until
// then. Whoever has something come sets them, so that what is quiet costs nothing, and
// what is busy a comparison.
package pace

import (
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// Pace is how much comes from a side in a second, over some ten seconds.
type Pace struct{ Messages, Bytes float64 }

const (
	// tick is the unit in which marks have the time: 2^20 nanoseconds.
	tick = 20

	// markEvery is how old the newer mark is at least when the next is set: some 5s.
	markEvery = uint32(5*time.Second>>tick) + 1

	// least is the shortest time that a pace is taken over, which a connection that has
	// just been opened has not lasted.
	least = uint32(time.Second>>tick) + 1

	// quiet is for how long nothing may have come where there is a pace.
	quiet = 10 * time.Second
)

// Marks are two moments and what had come until then. Whatever has come since the newer
// mark came within [markEvery] of it, or it had set a mark. Moments are nanoseconds of a
// monotonic clock.
type Marks struct{ newer, older mark }

// mark holds the lower part of each number: only differences count.
type mark struct {
	at                                      uint32
	messagesFromClient, bytesFromClient     uint32
	messagesFromUpstream, bytesFromUpstream uint32
}

// Since returns the marks of what begins now.
func Since(now int64) Marks {
	m := mark{at: markTime(now)}
	return Marks{m, m}
}

// Due reports whether the marks are to be moved. It is false also where now is somewhat
// before the newer mark: whoever looks, or passes something on, took the time before, and
// then somebody else set a mark.
func (m *Marks) Due(now int64) bool {
	since := markTime(now) - m.newer.at
	return since >= markEvery && since <= ^uint32(0)-markEvery
}

// Move sets a mark at what has come before now.
func (m *Marks) Move(now int64, client, upstream wsframe.Counts) {
	next := mark{
		markTime(now),
		uint32(client.Messages), markBytes(client.Bytes),
		uint32(upstream.Messages), markBytes(upstream.Bytes),
	}
	m.older = m.newer
	if next.at-m.newer.at >= 2*markEvery {
		m.older = next
		m.older.at -= markEvery // since when nothing came
	}
	m.newer = next
}

// Pace is that of what came since the mark that is nearer to ten seconds old. Something
// came last at the moment last.
func (m *Marks) Pace(now, last int64, client, upstream *wsframe.Counts) (fromClient, fromUpstream Pace) {
	if now-last >= int64(quiet) {
		return Pace{}, Pace{}
	}
	from, at := &m.older, markTime(now)
	switch {
	case m.Due(now):
		from = &m.newer
	case at-m.newer.at >= markEvery: // the mark is newer than now
		at = m.newer.at
	}
	seconds := time.Duration(int64(max(at-from.at, least)) << tick).Seconds()
	fromClient = since(client, from.messagesFromClient, from.bytesFromClient, seconds)
	fromUpstream = since(upstream, from.messagesFromUpstream, from.bytesFromUpstream, seconds)
	return fromClient, fromUpstream
}

func since(now *wsframe.Counts, messages, bytes uint32, seconds float64) Pace {
	return Pace{
		Messages: float64(uint32(now.Messages)-messages) / seconds,
		Bytes:    float64(bytesSince(now.Bytes, bytes)) / seconds,
	}
}

func markTime(now int64) uint32 { return uint32(now >> tick) }

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
