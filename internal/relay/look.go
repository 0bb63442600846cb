package relay

import (
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/pace"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// Look is what there is to see of a connection at one moment.
type Look struct {
	FromClient, FromUpstream         wsframe.Counts
	PaceFromClient, PaceFromUpstream pace.Pace
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
	look.PaceFromClient, look.PaceFromUpstream = r.marks.Pace(monotonic(now), r.lastActive, &look.FromClient, &look.FromUpstream)
	return look
}

// mark sets a mark at what has come so far. It stands by itself because few pieces need it,
// and all of them would have room for its numbers on their stacks. mu must be held.
func (r *Relay) mark(now int64) {
	r.marks.Move(now, r.client.scan.Counts(), r.upstream.scan.Counts())
}
