package membership

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
)

func TestNobodyWaitsForMoreOfWhatHasNoCap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, memory.New(time.Now), "a", admission.Caps{}, nil)
		start(n)
		begun := time.Now()
		if n.MoreSeats(t.Context(), gateway, 10) {
			t.Error("there is more of no cap")
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("it took %v to say so", took)
		}
		stop(n)
	})
}
