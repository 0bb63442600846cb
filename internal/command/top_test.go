package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/terminal"
)

// topAnswers are answers to one look after the other: at a node, its gateways and its
// connections.
func topAnswers(looks int) (answers []string) {
	for i := range looks {
		answers = append(answers, nodeAnswer("ready", 1234),
			fmt.Sprintf(`200 [{"name":"chat","upstreams":[{"address":"a:1","state":"ready","weight":1,"live":3,"opened":%d,"failed":0}],"handshakes":{"ok":%[1]d}},{"name":"other"}]`, i),
			"200 ["+liveRow+`,{"id":"c2","user":"bob","gateway":"chat","upstream":"a:1"}]`)
	}
	return answers
}

func TestTopIsPrintedOnceWhereThereIsNoTerminal(t *testing.T) {
	t.Parallel()
	rows := []struct{ args, sent, has, hasNot string }{
		{"", "limit=200&sort=rate", "ID  USER   RATE      UPSTREAM", "\x1b"},
		{"--sort age", "limit=200&sort=age", "ID  USER   AGE    UPSTREAM", "▼"},
		{"--filter ALI", "limit=10000&sort=rate", "c1  alice", "bob"},
		{"--filter nobody", "limit=10000&sort=rate", "a:1       ready  3     100%", "alice"},
		{"--gateway chat", "gateway=chat&limit=200&sort=rate", "edge-1  ready  gateway chat  3 live  handshakes ", "1,234 live"},
		{"--once", "limit=200&sort=rate", "edge-1  ready  1,234 live  handshakes ", "gateway chat"},
	}
	for _, row := range rows {
		t.Run(row.args, func(t *testing.T) {
			t.Parallel()
			endpoint := newFakeEndpoint(t, topAnswers(2)...)
			r := runAt(t, endpoint, append([]string{"top", "--interval", "1ms"}, strings.Fields(row.args)...)...)
			r.expect(t, 0, r.out, "")
			if !strings.Contains(r.out, row.has) || strings.Contains(r.out, row.hasNot) {
				t.Errorf("printed is\n%s", r.out)
			}
			look := []string{sentGetNode, "GET /ws_gateway/", "GET /ws_gateway/connections?" + row.sent}
			if sent := endpoint.requests(); !slices.Equal(sent, slices.Concat(look, look)) {
				t.Errorf("sent was %q", sent)
			}
		})
	}
	r := runAt(t, newFakeEndpoint(t, topAnswers(1)...), "top", "--json", "--filter", "bob")
	r.expect(t, 0, r.out, "")
	var printed struct {
		Node        struct{ Live int }
		Gateways    []struct{ Name string }
		Connections []struct{ ID string }
	}
	if err := json.Unmarshal([]byte(r.out), &printed); err != nil || printed.Node.Live != 1234 || len(printed.Gateways) != 2 || len(printed.Connections) != 1 || printed.Connections[0].ID != "c2" {
		t.Errorf("printed is %s, %v", r.out, err)
	}
	many := topAnswers(1)
	many[2] = "200 [" + strings.Repeat(liveRow+",", topListed) + liveRow + "]"
	r = runAt(t, newFakeEndpoint(t, many...), "top", "--json", "--filter", "alice")
	if err := json.Unmarshal([]byte(r.out), &printed); err != nil || len(printed.Connections) != topListed {
		t.Errorf("printed are %d connections, %v", len(printed.Connections), err)
	}
	runAt(t, newFakeEndpoint(t, topAnswers(1)...), "top", "--gateway", "none").expect(t, exitRefused, "", `there is no gateway "none": known are "chat", "other"`)
	later := append(topAnswers(1), "")
	runAt(t, newFakeEndpoint(t, later...), "top", "--interval", "1ms").expect(t, exitUnreachable, "", "cannot reach")
}

// sampleAt is a look at a node after so many seconds, with the totals of a gateway.
func sampleAt(seconds float64, id string, total uint64) *topSample {
	return &topSample{
		at:   time.Unix(0, 0).Add(time.Duration(seconds * float64(time.Second))),
		node: nodeState{ID: id},
		gateways: []listedGateway{{
			Name: "chat", Handshakes: map[string]uint64{"ok": total, "limited": total}, MessagesFromClient: 2 * total, MessagesFromUpstream: 3 * total,
			BytesFromClient: 4 * total, BytesFromUpstream: 5 * total, Upstreams: []listedUpstream{{Address: "a:1", Opened: total, Failed: 6 * total}},
		}},
	}
}

func TestRatesAreOfWhatIsBetweenTwoLooks(t *testing.T) {
	t.Parallel()
	rates := ratesBetween(sampleAt(0, "n", 100), sampleAt(4, "n", 120))
	key := upstreamKey{"chat", "a:1"}
	got := []float64{rates.handshakes, rates.messagesUp, rates.messagesDown, rates.bytesUp, rates.bytesDown, rates.openedByUpstream[key], rates.failedByUpstream[key]}
	if want := []float64{10, 10, 15, 20, 25, 5, 30}; !rates.known || !slices.Equal(got, want) {
		t.Errorf("rates are %v and should be %v", got, want)
	}
	if rates := ratesBetween(sampleAt(0, "n", 100), sampleAt(1, "n", 3)); !rates.known || rates.handshakes != 0 {
		t.Errorf("of a gateway that was gone they are %+v", rates)
	}
	for _, change := range []func(*topSample){
		func(s *topSample) { s.gateways = nil },
		func(s *topSample) { s.gateways[0].Upstreams = nil },
	} {
		before := sampleAt(0, "n", 100)
		change(before)
		rates := ratesBetween(before, sampleAt(1, "n", 100))
		if !rates.known || rates.handshakes != 0 || rates.openedByUpstream[key] != 0 {
			t.Errorf("of what is back they are %+v", rates)
		}
	}
	for name, pair := range map[string][2]*topSample{
		"at first":                 {nil, sampleAt(1, "n", 1)},
		"of another process":       {sampleAt(0, "m", 1), sampleAt(1, "n", 1)},
		"when no time has gone by": {sampleAt(1, "n", 1), sampleAt(1, "n", 2)},
		"when the clock goes back": {sampleAt(2, "n", 1), sampleAt(1, "n", 2)},
	} {
		if rates := ratesBetween(pair[0], pair[1]); rates.known {
			t.Errorf("%s they are %+v", name, rates)
		}
	}
}

func TestRatesGoByLooksAnIntervalApart(t *testing.T) {
	t.Parallel()
	first := sampleAt(0, "n", 0)
	view := topView{interval: 2 * time.Second, sample: first}
	second, soon, third := sampleAt(2, "n", 1), sampleAt(2.1, "n", 2), sampleAt(4, "n", 3)
	view.show(second, nil)
	view.show(soon, nil)
	if view.before != first || view.sample != soon {
		t.Error("a look that a key has asked for counts as an interval")
	}
	view.show(nil, errors.New("gone\x1b"))
	if view.failure != `gone\x1b` || view.sample != soon {
		t.Errorf("after a failure it shows %q", view.failure)
	}
	view.show(third, nil)
	if view.before != soon || view.sample != third || view.failure != "" {
		t.Error("the look after that is not shown")
	}
}

func TestHeadWrapsWhereItMust(t *testing.T) {
	t.Parallel()
	sample := sampleAt(10, "n", 20)
	sample.node = nodeState{Name: "edge\x1b", State: "drain", ID: "n", Live: 12345, EndsAt: time.Unix(40, 0).UTC().Format(time.RFC3339)}
	rates := ratesBetween(sampleAt(0, "n", 0), sample)
	whole := `"edge\x1b"  drain, ends in 30s  12,345 live  handshakes 4.0/s  messages 4.0/s up, 6.0/s down  bytes 8 B/s up, 10 B/s down`
	if lines := topHead(sample, rates, topQuery{}, 0); !slices.Equal(lines, []string{whole}) {
		t.Errorf("it is %q", lines)
	}
	for width := 30; width < len(whole)+2; width++ {
		lines := topHead(sample, rates, topQuery{}, width)
		if strings.Join(lines, "  ") != whole {
			t.Errorf("in %d characters it is %q", width, lines)
		}
		for _, line := range lines {
			if len(line) > width {
				t.Errorf("in %d characters a line is %q", width, line)
			}
		}
	}
}

func TestQuestionThatIsCutShowsItsAnswers(t *testing.T) {
	t.Parallel()
	view := topView{mode: topAsking, question: topQuestion{text: "End connection c1 of " + strings.Repeat("x", 100) + "?"}}
	if text, want := view.bottom(40, time.Time{}), "End connection c1 of xxxxxxxxxxxx… [y/N]"; text != want {
		t.Errorf("it is %q and should be %q", text, want)
	}
	for width := range 10 {
		view.bottom(width, time.Time{}) // does not panic
	}
}

func TestTopFillsAScreenOfAnySize(t *testing.T) {
	t.Parallel()
	sample := sampleAt(10, "n", 20)
	for i := range 30 {
		sample.connections = append(sample.connections, listedConnection{ID: fmt.Sprintf("c%02d", i)})
		sample.gateways[0].Upstreams = append(sample.gateways[0].Upstreams, listedUpstream{Address: fmt.Sprintf("b:%d", i)})
	}
	views := map[string]topView{
		"nothing selected":       {},
		"a connection":           {connection: "c29"},
		"an upstream":            {onUpstreams: true, upstream: upstreamKey{"chat", "b:29"}},
		"help":                   {mode: topHelping},
		"a filter that is typed": {mode: topTyping, typed: strings.Repeat("x", 100)},
		"a failure":              {failure: strings.Repeat("x", 300)},
	}
	for name, view := range views {
		view.sample, view.wanted = sample, topQuery{sort: "rate"}
		for height := range 40 {
			for _, width := range []int{1, 20, 80, 300} {
				lines := view.lines(width, height, sample.at)
				if len(lines) != max(height, 1) {
					t.Fatalf("%s: in %d lines there are %d", name, height, len(lines))
				}
				selected := slices.ContainsFunc(lines[:len(lines)-1], func(l terminal.Line) bool { return l.Style == terminal.Reverse })
				if wanted := view.connection != "" || view.onUpstreams; height >= 20 && selected != wanted {
					t.Errorf("%s: in %d lines of %d a row is selected: %v", name, height, width, selected)
				}
			}
		}
	}
}
