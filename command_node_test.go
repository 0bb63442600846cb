package wsgateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// node is an answer with the state of a node.
func node(state string, live int) string {
	return fmt.Sprintf(`200 {"name":"edge-1","id":"5f0c","state":%q,"live":%d,"since":"2026-05-04T12:00:00Z"}`, state, live)
}

func printed(state string, live int) string {
	return fmt.Sprintf("name   edge-1\nid     5f0c\nstate  %s\nlive   %d\nsince  2026-05-04T12:00:00Z\n", state, live)
}

const (
	getNode = "GET /ws_gateway/node"
	drain   = `POST /ws_gateway/node {"state":"drain"}`
	ready   = `POST /ws_gateway/node {"state":"ready"}`
)

func TestNodeIsShownAndSet(t *testing.T) {
	t.Parallel()
	rows := []struct {
		args    string
		answers []string
		sent    []string
		out     string
	}{
		{"node", []string{node("ready", 3)}, []string{getNode}, printed("ready", 3)},
		{"node --json", []string{node("ready", 3)}, []string{getNode}, node("ready", 3)[4:] + "\n"},
		{"node drain", []string{node("drain", 3)}, []string{drain}, printed("drain", 3)},
		{"node drain --json", []string{node("drain", 3)}, []string{drain}, node("drain", 3)[4:] + "\n"},
		{"node drain --period 1d", []string{node("drain", 3)}, []string{`POST /ws_gateway/node {"period":"1d","state":"drain"}`}, printed("drain", 3)},
		{"node drain --period 0s", []string{node("drain", 3)}, []string{`POST /ws_gateway/node {"period":"0s","state":"drain"}`}, printed("drain", 3)},
		{"node ready", []string{node("ready", 0)}, []string{ready}, printed("ready", 0)},
		{"node ready", []string{"200 {}", node("ready", 0)}, []string{ready, getNode}, printed("ready", 0)},
	}
	for _, row := range rows {
		t.Run(row.args, func(t *testing.T) {
			t.Parallel()
			endpoint := newFakeEndpoint(t, row.answers...)
			runAt(t, endpoint, strings.Fields(row.args)...).expect(t, 0, row.out, "")
			if sent := endpoint.requests(); !slices.Equal(sent, row.sent) {
				t.Errorf("sent was %q and should be %q", sent, row.sent)
			}
		})
	}
}

func TestWaitingForADrain(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name, args string
		answers    []string
		status     int
		out, says  string
	}{
		{"until nothing is live", "", []string{node("drain", 3), node("drain", 2), node("drain", 1), node("drain", 0)}, 0, printed("drain", 0), ""},
		{"with nothing live at all", "", []string{node("drain", 0)}, 0, printed("drain", 0), ""},
		{"as JSON", "--json", []string{node("drain", 3), node("drain", 0)}, 0, node("drain", 0)[4:] + "\n", ""},
		{"no longer than the timeout", "--timeout 50ms", []string{node("drain", 1)}, exitRefused, printed("drain", 1), "1 connection left after 50ms: the node goes on draining"},
		{"with a break", "", []string{node("drain", 3), "", node("drain", 2), "", node("drain", 0)}, 0, printed("drain", 0), ""},
		{"with the endpoint gone", "", []string{node("drain", 3), node("drain", 2), ""}, exitUnreachable, "", "gone, with 2 connections left when it last answered: cannot reach"},
		{"on a node made ready", "", []string{node("drain", 3), node("ready", 2)}, exitRefused, printed("ready", 2), "the node is ready again, with 2 connections left"},
		{"that is refused", "", []string{`400 {"error":"no"}`}, exitRefused, "", "says 400 Bad Request: no"},
		{"that is refused later", "", []string{node("drain", 3), `404 {"error":"no"}`}, exitRefused, printed("drain", 3), "says 404 Not Found: no"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			endpoint := newFakeEndpoint(t, row.answers...)
			runAt(t, endpoint, append([]string{"node", "drain", "--wait"}, strings.Fields(row.args)...)...).expect(t, row.status, row.out, row.says)
			sent := endpoint.requests()
			if sent[0] != drain || len(sent) < len(row.answers) || slices.ContainsFunc(sent[1:], func(request string) bool { return request != getNode }) {
				t.Errorf("sent was %q", sent)
			}
		})
	}
}
