package membership

import (
	"context"
	"net/netip"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
)

// Verdict is what becomes of a handshake. The zero value: it may come in.
type Verdict struct {
	Limit  admission.Limit // that leaves no room, "" for none
	Wait   time.Duration   // how long the client has to wait, under HandshakesPerIP
	Closed bool            // there is an outage, during which no handshake is let in
}

// Pending is a handshake that waits for the fleet's verdict. A nil Pending is one that
// the fleet has nothing to say of.
type Pending struct{}

// Claim asks for the connection of the seat, which was admitted by the process itself.
// The seat gives it back where it is released. It returns nil where nothing is counted.
func (m *Member) Claim(seat *admission.Seat, gateway string, caps admission.Caps, ip netip.Addr, user string) *Pending {
	return nil
}

// Knock counts a handshake of the address. It returns nil where the caps have no rate.
func (m *Member) Knock(gateway string, caps admission.Caps, ip netip.Addr) *Pending { return nil }

// Wait returns the verdict, no later than the timeout after the handshake was claimed.
func (p *Pending) Wait(ctx context.Context) Verdict { return Verdict{} }
