package integration

import (
	"testing"
)

// expectOnward waits until the client has come from one server to the other, in a new
// session that misses nothing.
func (r *realServer) expectOnward(t *testing.T, from nodeEvent, sessions int) nodeEvent {
	t.Helper()
	r.client.await(t, "closed")
	opened := r.client.await(t, "open")
	if opened.Server == from.Server || opened.Session == from.Session {
		t.Errorf("after %s at %s the client has %s at %s", from.Session, from.Server, opened.Session, opened.Server)
	}
	r.expectUndisturbed(t, opened, sessions)
	return opened
}

// TestRealStreamsThroughReloadAndDrain puts graphql-sse, whose clients ask by POST, behind
// the gateway, and changes that under them.
func TestRealStreamsThroughReloadAndDrain(t *testing.T) {
	needNode(t)
	r := startReal(t, "graphqlsse", "streams", true)
	first := r.client.await(t, "open")
	r.expectUndisturbed(t, first, 1)
	if got := r.shown(t, "default", r.addresses[first.Server]); got.Streams < 1 {
		t.Errorf("its upstream is shown as %+v", got)
	}
	r.reload(t, "respond /unrelated hello\n"+r.configured("max_conns 50"))
	r.expectUndisturbed(t, first, 1)

	drained := r.addresses[first.Server]
	defer r.setState(t, drained, "ready")
	r.setState(t, drained, "drain")
	second := r.expectOnward(t, first, 2)
	r.setState(t, drained, "ready")
	r.reload(t, "log_skip\nws_gateway "+drained+" {\n drain_period 0s\n streams\n }")
	r.expectOnward(t, second, 3)
}

// TestClientOfAKilledStreamServerComesBackToTheOther as after a drain.
func TestClientOfAKilledStreamServerComesBackToTheOther(t *testing.T) {
	needNode(t)
	r := startReal(t, "graphqlsse", "streams\n fail_duration 1m", false)
	first := r.client.await(t, "open")
	r.expectUndisturbed(t, first, 1)
	r.servers[first.Server].kill(t)
	r.expectOnward(t, first, 2)
}

// TestMCPToolGoesOnThroughADrain of the server that has begun it: the client of MCP comes
// back for the rest, and gets all of the progress and the result.
func TestMCPToolGoesOnThroughADrain(t *testing.T) {
	needNode(t)
	r := startReal(t, "mcp", "streams", false)
	first := r.client.await(t, "open")
	drained := r.addresses[first.Server]
	defer r.setState(t, drained, "ready")
	r.setState(t, drained, "drain")
	got := r.client.await(t, "report")
	if got.Server == first.Server || got.Sessions != 1000 || got.Text != "counted up to 1000 at "+got.Server {
		t.Errorf("begun at %s, the tool gave %+v", first.Server, got)
	}
	for _, wrong := range got.Wrong {
		t.Error(wrong)
	}
}
