package wsgateway

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/membership"
)

// turnAway refuses a handshake while the node drains.
func (h *Handler) turnAway(w http.ResponseWriter) *refusal {
	period, drains := h.live.NodeDraining()
	switch {
	case !drains:
		return nil
	case period != nil:
		return draining(w, *period)
	}
	return draining(w, h.drainPeriod())
}

// letKnock refuses a handshake before any work is done about who the client is.
func (h *Handler) letKnock(w http.ResponseWriter, r *http.Request, e *errands) *refusal {
	if rf := h.turnAway(w); rf != nil {
		return rf
	}
	if rf := h.turnAwayCutOff(w); rf != nil {
		return rf
	}
	return h.knock(w, r, e)
}

// knock holds an address to its rate of handshakes, before any work is done about who
// the client is. Where this handler has no rate, another of the same name may have one.
// What the fleet says to it is heard by the errands.
func (h *Handler) knock(w http.ResponseWriter, r *http.Request, e *errands) *refusal {
	ip := live.AddrOf(clientIP(r))
	if wait := h.live.Seats.Knock(h.name, h.caps, ip); wait > 0 {
		return h.tooOften(w, wait)
	}
	if e != nil {
		e.knock = h.fleet.member().Knock(h.name, h.caps, ip)
	}
	return nil
}

func (h *Handler) tooOften(w http.ResponseWriter, wait time.Duration) *refusal {
	return limited(w, string(admission.HandshakesPerIP), fmt.Sprintf("the client's address has made its %d handshakes in %s",
		h.caps.Handshakes.Count, h.caps.Handshakes.Per), wait)
}

// mostAsks is how often a handshake asks the fleet for room, where others take what it was
// given.
const mostAsks = 8

// takeSeat is takeSeatInto for a seat of its own.
func (h *Handler) takeSeat(w http.ResponseWriter, r *http.Request, e *errands) (*admission.Seat, *refusal) {
	seat := new(admission.Seat)
	if rf := h.takeSeatInto(seat, w, r, e); rf != nil {
		return nil, rf
	}
	return seat, nil
}

// takeSeatInto holds a handshake to the caps on connections. The seat is the connection's,
// from before an upstream is chosen to its end. What the fleet says to it is heard by the
// errands.
func (h *Handler) takeSeatInto(seat *admission.Seat, w http.ResponseWriter, r *http.Request, e *errands) *refusal {
	ip, user := live.AddrOf(clientIP(r)), userOf(r)
	for asks := 0; ; asks++ {
		limit := h.live.Seats.Admit(seat, h.name, h.caps, ip, user)
		switch {
		case limit == "":
			if e != nil {
				e.claim = h.fleet.member().Claim(seat, h.name, h.caps, ip, user)
			}
			return nil
		case limit == admission.Connections && asks < mostAsks && h.moreSeats(r, e):
			continue
		}
		return h.noSeat(w, limit)
	}
}

// noSeat is the refusal by a cap on connections.
func (h *Handler) noSeat(w http.ResponseWriter, limit admission.Limit) *refusal {
	const unknown time.Duration = 0 // nobody knows when a connection will end
	switch limit {
	case admission.Connections:
		return full(w, string(limit), fmt.Sprintf("the gateway has its %d connections", h.caps.Connections))
	case admission.ConnectionsPerIP:
		return limited(w, string(limit), fmt.Sprintf("the client's address has its %d connections", h.caps.PerIP), unknown)
	default:
		return limited(w, string(limit), fmt.Sprintf("the user has the allowed %d connections", h.caps.PerUser), unknown)
	}
}

// errands are what the fleet is asked about a handshake while it goes on. They are nil
// where there is no fleet, and each is where there is nothing to ask.
type errands struct {
	knock, claim *membership.Pending

	waited time.Duration // for the fleet, in all
}

func (h *Handler) newErrands() *errands {
	if h.fleet.member() == nil {
		return nil
	}
	return new(errands)
}

// patience is for one thing that the handshake waits for: over all of them, it waits no
// longer than the fleet's timeout. The time that it takes until done counts.
func (h *Handler) patience(r *http.Request, e *errands) (ctx context.Context, done func()) {
	if e == nil {
		e = new(errands) // the fleet was joined meanwhile
	}
	begun := time.Now()
	ctx, cancel := context.WithTimeout(r.Context(), h.fleet.timeout()-e.waited)
	return ctx, func() {
		cancel()
		e.waited += time.Since(begun)
	}
}

// moreSeats asks the fleet for more of the cap on connections, unless this node alone has
// all of it. It reports whether it is worth trying again.
func (h *Handler) moreSeats(r *http.Request, e *errands) bool {
	if h.fleet.member() == nil || !h.live.Seats.Short(h.name, h.caps.Connections) {
		return false
	}
	ctx, done := h.patience(r, e)
	defer done()
	return h.fleet.member().MoreSeats(ctx, h.name, h.caps.Connections)
}

// hear waits for what the fleet says, and returns the refusal if it refuses. Nobody waits
// for longer than the fleet's timeout.
func (h *Handler) hear(w http.ResponseWriter, r *http.Request, e *errands) *refusal {
	ctx, done := h.patience(r, e)
	defer done()
	for _, asked := range []*membership.Pending{e.knock, e.claim} {
		switch said := asked.Wait(ctx); {
		case said.Closed:
			return h.cutOff(w)
		case said.Limit == admission.HandshakesPerIP:
			return h.tooOften(w, said.Wait)
		case said.Limit != "":
			return h.noSeat(w, said.Limit)
		}
	}
	return nil
}

// overRate is the refusal of a handshake that is refused for another reason, if its rate,
// which comes first, would have it refused as well: who guesses tokens learns nothing by
// going to another node.
func (h *Handler) overRate(w http.ResponseWriter, r *http.Request, e *errands) *refusal {
	if e == nil || e.knock == nil {
		return nil
	}
	ctx, done := h.patience(r, e)
	defer done()
	if said := e.knock.Wait(ctx); said.Limit != "" {
		return h.tooOften(w, said.Wait)
	}
	return nil
}

// cutOff is for a handshake at a gateway whose caps nobody can hold, and whose operator
// wants none let in then.
func (h *Handler) cutOff(w http.ResponseWriter) *refusal {
	return unavailable(w, "the fleet cannot be reached, and its caps not be held")
}

// turnAwayCutOff refuses a handshake while the fleet cannot be reached, where the operator
// wants that.
func (h *Handler) turnAwayCutOff(w http.ResponseWriter) *refusal {
	if h.hasCap && h.fleet.member().Refuses() {
		return h.cutOff(w)
	}
	return nil
}
