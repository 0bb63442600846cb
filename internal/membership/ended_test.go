package membership

import (
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
)

// A member that has ended leaves what the next one does with the ledgers alone.
func TestEndedMemberChangesNoAllowance(t *testing.T) {
	t.Parallel()
	n := newNode(t, memory.New(time.Now), "a", admission.Caps{Connections: 10}, nil)
	old := n.Member
	old.Start()
	old.Retire(t.Context())
	n.renew(nil)
	defer n.Stop(t.Context())
	n.seats.Bind()
	n.seats.Allow(gateway, 1)
	if again := old.raise(slot{name: gateway}); !again {
		t.Error("the next member is not asked")
	}
	old.raiseAll()
	if got := n.seats.Shared()[0].Allowance; got != 1 {
		t.Errorf("the allowance is %d, want the 1 that the next member gave", got)
	}
}
