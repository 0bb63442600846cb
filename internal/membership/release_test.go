package membership

import (
	"sync"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
)

// Whoever counts a seat last has to hear of its release, whatever comes together.
func TestNoSeatIsLostThatIsClaimedWhileItIsAdopted(t *testing.T) {
	t.Parallel()
	n := newNode(t, memory.New(time.Now), "a", admission.Caps{Connections: 1 << 20, PerUser: 1 << 20}, nil)
	defer n.Stop(t.Context())
	done := make(chan struct{})
	var changing, both sync.WaitGroup
	for range 4 {
		changing.Go(func() { // has seats wait for their locks
			for {
				select {
				case <-done:
					return
				default:
					n.seats.Shared()
				}
			}
		})
	}
	for range 2_000 {
		seat := new(admission.Seat)
		n.seats.Admit(seat, gateway, n.caps, alice, "alice")
		both.Go(func() { n.adopt(gateway, resident{seat, alice, "alice"}) })
		n.Claim(seat, gateway, n.caps, alice, "alice")
		both.Wait()
		seat.Release()
	}
	close(done)
	changing.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	if lost := len(n.books.seats); lost > 0 {
		t.Errorf("%d seats count for good", lost)
	}
}
