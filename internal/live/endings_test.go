package live

import (
	"testing"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

func TestWhatEndedAConnectionIsADeadlineOrNot(t *testing.T) {
	t.Parallel()
	by := func(e Ending) relay.Outcome {
		return relay.Outcome{By: relay.Gateway, Code: e.Client.Code, Reason: e.Client.Reason}
	}
	for name, row := range map[string]struct {
		told []Ending
		out  relay.Outcome
		want string
	}{
		"nothing of ours":               {nil, relay.Outcome{By: relay.Client}, ""},
		"the end of its token":          {[]Ending{endExpired}, by(endExpired), "token"},
		"its age":                       {[]Ending{endAge}, by(endAge), "max_age"},
		"a drain":                       {[]Ending{endDrain}, by(endDrain), "drain"},
		"idleness":                      {nil, relay.Outcome{By: relay.Gateway, Idle: true}, "idle_timeout"},
		"an operator":                   {[]Ending{EndRevoked}, by(EndRevoked), ""},
		"an exit":                       {[]Ending{endExit}, by(endExit), ""},
		"a rebalance":                   {[]Ending{endRebalance}, by(endRebalance), ""},
		"the client, before it was due": {[]Ending{endAge}, relay.Outcome{By: relay.Client}, ""},
		"a limit, before it was due":    {[]Ending{endAge}, relay.Outcome{By: relay.Gateway, Code: 1008, Reason: "client: too many messages", Limit: "messages"}, ""},
		"a panic, before it was due":    {[]Ending{endDrain}, relay.Outcome{By: relay.Gateway, Code: 1011, Reason: "internal error"}, ""},
	} {
		near, _ := bubble.NewPeer()
		other, _ := bubble.NewPeer()
		c := newSet().NewConn(Details{Protocol: ProtocolWebSocket, Link: relay.New(relay.Config{Client: near, Upstream: other})}, "", Authority{})
		for _, e := range row.told {
			c.tell(e)
		}
		if got := c.EndedBy(&row.out); got != row.want {
			t.Errorf("%s: ended by %q, want %q", name, got, row.want)
		}
	}
}

// What ended a stream shows in the reason alone, for it has no code.
func TestWhatEndedAStreamIsADeadlineOrNot(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		told []Ending
		out  relay.Outcome
		want string
	}{
		"the end of its token":            {[]Ending{endExpired}, relay.Outcome{By: relay.Gateway, Reason: endExpired.Client.Reason}, "token"},
		"its age":                         {[]Ending{endAge}, relay.Outcome{By: relay.Gateway, Reason: endAge.Client.Reason}, "max_age"},
		"idleness":                        {nil, relay.Outcome{By: relay.Gateway, Idle: true}, "idle_timeout"},
		"its upstream, before it was due": {[]Ending{endAge}, relay.Outcome{By: relay.Upstream}, ""},
		"a panic, before it was due":      {[]Ending{endAge}, relay.Outcome{By: relay.Gateway, Reason: "internal error"}, ""},
		"an operator":                     {[]Ending{EndRevoked}, relay.Outcome{By: relay.Gateway, Reason: EndRevoked.Client.Reason}, ""},
	} {
		link := &fakeStream{told: make(chan relay.Close, 1)}
		c := newSet().NewConn(Details{Protocol: "sse", Link: link}, "", Authority{})
		for _, e := range row.told {
			c.tell(e)
		}
		if got := c.EndedBy(&row.out); got != row.want {
			t.Errorf("%s: ended by %q, want %q", name, got, row.want)
		}
	}
}
