package wsgateway

import (
	"fmt"
	"net/http"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
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

// knock holds an address to its rate of handshakes, before any work is done about who
// the client is. Where this handler has no rate, another of the same name may have one.
func (h *Handler) knock(w http.ResponseWriter, r *http.Request) *refusal {
	wait := h.live.Seats.Knock(h.name, h.caps, live.AddrOf(clientIP(r)))
	if wait <= 0 {
		return nil
	}
	return limited(w, string(admission.HandshakesPerIP), fmt.Sprintf("the client's address has made its %d handshakes in %s",
		h.caps.Handshakes.Count, h.caps.Handshakes.Per), wait)
}

// takeSeat holds a handshake to the caps on connections. The seat is the connection's,
// from before an upstream is chosen to its end.
func (h *Handler) takeSeat(w http.ResponseWriter, r *http.Request) (*admission.Seat, *refusal) {
	seat := new(admission.Seat)
	const unknown time.Duration = 0 // nobody knows when a connection will end
	switch limit := h.live.Seats.Admit(seat, h.name, h.caps, live.AddrOf(clientIP(r)), userOf(r)); limit {
	case "":
		return seat, nil
	case admission.Connections:
		return nil, full(w, string(limit), fmt.Sprintf("the gateway has its %d connections", h.caps.Connections))
	case admission.ConnectionsPerIP:
		return nil, limited(w, string(limit), fmt.Sprintf("the client's address has its %d connections", h.caps.PerIP), unknown)
	default:
		return nil, limited(w, string(limit), fmt.Sprintf("the user has the allowed %d connections", h.caps.PerUser), unknown)
	}
}
