package command

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// nodeAnswer is an answer with the state of a node.
func nodeAnswer(state string, live int) string {
	return fmt.Sprintf(`200 {"name":"edge-1","id":"5f0c","state":%q,"live":%d,"since":"2026-05-04T12:00:00Z"}`, state, live)
}

func printedNode(state string, live int) string {
	return fmt.Sprintf("name   edge-1\nid     5f0c\nstate  %s\nlive   %d\nsince  2026-05-04T12:00:00Z\n", state, live)
}

const (
	sentGetNode = "GET /ws_gateway/node"
	sentDrain   = `POST /ws_gateway/node {"state":"drain"}`
	sentReady   = `POST /ws_gateway/node {"state":"ready"}`
)

func TestNodeIsShownAndSet(t *testing.T) {
	t.Parallel()
	rows := []struct {
		args    string
		answers []string
		sent    []string
		out     string
	}{
		{"node", []string{nodeAnswer("ready", 3)}, []string{sentGetNode}, printedNode("ready", 3)},
		{"node --json", []string{nodeAnswer("ready", 3)}, []string{sentGetNode}, nodeAnswer("ready", 3)[4:] + "\n"},
		{"node drain", []string{nodeAnswer("drain", 3)}, []string{sentDrain}, printedNode("drain", 3)},
		{"node drain --json", []string{nodeAnswer("drain", 3)}, []string{sentDrain}, nodeAnswer("drain", 3)[4:] + "\n"},
		{"node drain --period 1d", []string{nodeAnswer("drain", 3)}, []string{`POST /ws_gateway/node {"period":"1d","state":"drain"}`}, printedNode("drain", 3)},
		{"node drain --period 0s", []string{nodeAnswer("drain", 3)}, []string{`POST /ws_gateway/node {"period":"0s","state":"drain"}`}, printedNode("drain", 3)},
		{"node ready", []string{nodeAnswer("ready", 0)}, []string{sentReady}, printedNode("ready", 0)},
		{"node ready", []string{"200 {}", nodeAnswer("ready", 0)}, []string{sentReady, sentGetNode}, printedNode("ready", 0)},
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
		{"until nothing is live", "", []string{nodeAnswer("drain", 3), nodeAnswer("drain", 2), nodeAnswer("drain", 1), nodeAnswer("drain", 0)}, 0, printedNode("drain", 0), ""},
		{"with nothing live at all", "", []string{nodeAnswer("drain", 0)}, 0, printedNode("drain", 0), ""},
		{"as JSON", "--json", []string{nodeAnswer("drain", 3), nodeAnswer("drain", 0)}, 0, nodeAnswer("drain", 0)[4:] + "\n", ""},
		{"no longer than the timeout", "--timeout 3s", []string{nodeAnswer("drain", 1)}, exitRefused, printedNode("drain", 1), "1 connection left after 3s: the node goes on draining"},
		{"with a break", "", []string{nodeAnswer("drain", 3), "", nodeAnswer("drain", 2), "", nodeAnswer("drain", 0)}, 0, printedNode("drain", 0), ""},
		{"with the endpoint gone", "", []string{nodeAnswer("drain", 3), nodeAnswer("drain", 2), ""}, exitUnreachable, "", "gone, with 2 connections left when it last answered: cannot reach"},
		{"on a node made ready", "", []string{nodeAnswer("drain", 3), nodeAnswer("ready", 2)}, exitRefused, printedNode("ready", 2), "the node is ready again, with 2 connections left"},
		{"that is refused", "", []string{`400 {"error":"no"}`}, exitRefused, "", "says 400 Bad Request: no"},
		{"that is refused later", "", []string{nodeAnswer("drain", 3), `404 {"error":"no"}`}, exitRefused, printedNode("drain", 3), "says 404 Not Found: no"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			endpoint := newFakeEndpoint(t, row.answers...)
			runAt(t, endpoint, append([]string{"node", "drain", "--wait"}, strings.Fields(row.args)...)...).expect(t, row.status, row.out, row.says)
			sent := endpoint.requests()
			if sent[0] != sentDrain || len(sent) < len(row.answers) || slices.ContainsFunc(sent[1:], func(request string) bool { return request != sentGetNode }) {
				t.Errorf("sent was %q", sent)
			}
		})
	}
}

// TestDrainIsNotWaitedForBeyondTheTimeout where the endpoint says nothing to begin with.
func TestDrainIsNotWaitedForBeyondTheTimeout(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	began := time.Now()
	run := runCommand(t, "--address", silent.Addr().String(), "node", "drain", "--wait", "--timeout", "50ms")
	run.expect(t, exitUnreachable, "", "cannot reach the admin endpoint")
	if took := time.Since(began); took > adminAnswerTimeout/2 {
		t.Errorf("it took %s", took)
	}
}
