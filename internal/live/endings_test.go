package live

import (
	"testing"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

func TestWhatEndedAConnectionIsADeadlineOrNot(t *testing.T) {
	t.Parallel()
	gateway := relay.Outcome{By: relay.Gateway}
	for name, row := range map[string]struct {
		told []Ending
		out  relay.Outcome
		want string
	}{
		"nothing of ours":               {nil, relay.Outcome{By: relay.Client}, ""},
		"the end of its token":          {[]Ending{endExpired}, gateway, "token"},
		"its age":                       {[]Ending{endAge}, gateway, "max_age"},
		"a drain":                       {[]Ending{endDrain}, gateway, "drain"},
		"idleness":                      {nil, relay.Outcome{By: relay.Gateway, Idle: true}, "idle_timeout"},
		"an operator":                   {[]Ending{EndRevoked}, gateway, ""},
		"an exit":                       {[]Ending{endExit}, gateway, ""},
		"a rebalance":                   {[]Ending{endRebalance}, gateway, ""},
		"the client, before it was due": {[]Ending{endAge}, relay.Outcome{By: relay.Client}, ""},
		"a limit, before it was due":    {[]Ending{endAge}, relay.Outcome{By: relay.Gateway, Limit: "messages"}, ""},
	} {
		near, _ := bubble.NewPeer()
		other, _ := bubble.NewPeer()
		c := newSet().NewConn(Details{Relay: relay.New(relay.Config{Client: near, Upstream: other})}, "", Authority{})
		for _, e := range row.told {
			c.tell(e)
		}
		if got := c.EndedBy(&row.out); got != row.want {
			t.Errorf("%s: ended by %q, want %q", name, got, row.want)
		}
	}
}
