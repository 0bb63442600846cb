package integration

import (
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// shownGateway is a gateway as the admin endpoint shows it.
type shownGateway struct {
	Name      string
	Queued    int
	Limits    json.RawMessage
	Upstreams []shownUpstream
}

type shownUpstream struct {
	Address, State       string
	Weight               float64
	Live, Opened, Failed int
	Streams              int
}

// gateways reads what the admin endpoint shows.
func (g *gateway) gateways(t *testing.T) (all []shownGateway) {
	t.Helper()
	status, body := g.adminDo(t, "GET", "/ws_gateway/", "", "")
	if status != 200 {
		t.Fatalf("GET /ws_gateway/: %d %s", status, body)
	}
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return all
}

// shown is one upstream of one gateway; nothing where it is not shown.
func (g *gateway) shown(t *testing.T, name, address string) shownUpstream {
	t.Helper()
	for _, gw := range g.gateways(t) {
		for _, up := range gw.Upstreams {
			if gw.Name == name && up.Address == address {
				return up
			}
		}
	}
	return shownUpstream{}
}

// setState sets an upstream's state. It is remembered for as long as the process
// lives, and the port may be another's in the next test: set it ready at the end.
func (g *gateway) setState(t *testing.T, address, state string) {
	t.Helper()
	path := "/ws_gateway/upstreams/" + url.PathEscape(address)
	status, body := g.adminDo(t, "POST", path, "application/json", `{"state":"`+state+`"}`)
	if status != 200 {
		t.Fatalf("POST %s: %d %s", path, status, body)
	}
}

// TestAdminListsGatewaysInThisForm compares the whole answer.
func TestAdminListsGatewaysInThisForm(t *testing.T) {
	all, addrs := backends(t, 2, echo)
	slices.SortFunc(all, func(a, b *backend) int { return strings.Compare(a.addr, b.addr) })
	dead := newBackend(t, echo)
	dead.kill()
	g := start(t, fmt.Sprintf("ws_gateway /ws %s {\n name listed\n lb_policy weighted_least_conn 3 3\n }\n"+
		"ws_gateway /dead %s {\n name deadly\n fail_duration 1h\n }", addrs, dead.addr))
	overH2.open(t, g, "/ws", nil)
	overWS.open(t, g, "/ws", nil).finish(t)
	overWS.refused(t, g, "/dead", nil, 503)
	g.waitConnections(t, 1)

	var opened [2]float64
	for i, b := range all {
		opened[i] = float64(b.count(&b.opened))
	}
	var live [2]float64
	for i, b := range all {
		live[i] = g.connections(t, b.addr)
	}
	upstream := func(address, state string, weight, live, opened, failed float64) any {
		return map[string]any{"address": address, "state": state, "weight": weight, "live": live, "streams": 0.0, "opened": opened, "failed": failed}
	}
	gateway := func(name string, handshakes, closes map[string]any, refused int, upstreams ...any) any {
		return map[string]any{
			"name": name, "queued": 0.0, "limits": map[string]any{}, "upstreams": upstreams, "handshakes": handshakes, "closes": closes,
			"messages_from_client": 0.0, "messages_from_upstream": 0.0, "bytes_from_client": 0.0, "bytes_from_upstream": 0.0, "refused": refused,
		}
	}
	none := map[string]any{}
	want := []any{
		gateway("deadly", map[string]any{"unavailable": 1.0}, none, 1, upstream(dead.addr, "unhealthy", 1, 0, 0, 1)),
		gateway("listed", map[string]any{"ok": 2.0}, map[string]any{"client 1000": 1.0}, 0,
			upstream(all[0].addr, "ready", 3, live[0], opened[0], 0), upstream(all[1].addr, "ready", 3, live[1], opened[1], 0)),
	}
	status, body := g.adminDo(t, "GET", "/ws_gateway/", "", "")
	var got []any
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 {
		t.Fatalf("%d %s: %v", status, body, err)
	}
	for _, one := range got {
		shown, _ := one.(map[string]any)
		refused, _ := shown["refused"].([]any)
		shown["refused"] = len(refused)
	}
	if !reflect.DeepEqual(got, want) { // in the order of names
		t.Errorf("got\n%v, want\n%v", got, want)
	}
}

// TestAdminAnswersForWhatItDoesNotKnow keeps Caddy's form of an error.
func TestAdminAnswersForWhatItDoesNotKnow(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr)
	for _, row := range []struct {
		method, path, body string
		want               int
	}{
		{"POST", "/ws_gateway/upstreams/nobody:1", `{"state":"drain"}`, 404},
		{"POST", "/ws_gateway/upstreams/" + b.addr, `{"state":"asleep"}`, 400},
		{"POST", "/ws_gateway/upstreams/" + b.addr, `drain`, 400},
		{"POST", "/ws_gateway/upstreams/" + b.addr, `{"state":"drain","x":1}`, 400},
		{"GET", "/ws_gateway/upstreams/" + b.addr, ``, 405},
		{"POST", "/ws_gateway/", `{}`, 405},
		{"GET", "/ws_gateway/unknown", ``, 404},
	} {
		status, body := g.adminDo(t, row.method, row.path, "application/json", row.body)
		var said struct{ Error string }
		if err := json.Unmarshal([]byte(body), &said); status != row.want || err != nil || said.Error == "" {
			t.Errorf("%s %s %s: %d %s, want %d and an error", row.method, row.path, row.body, status, body, row.want)
		}
	}
	overWS.open(t, g, "/ws", nil).finish(t)
}

// TestMaintenanceTakesNothingNewAndLeavesTheLive covers both kinds of traffic.
func TestMaintenanceTakesNothingNewAndLeavesTheLive(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr)
	conns := oneOfEach(t, g)
	defer g.setState(t, b.addr, "ready")
	g.setState(t, b.addr, "maintenance")
	eachCarrier(t, func(t *testing.T, c carrier) {
		if a := c.refused(t, g, "/ws", nil, 503); a.header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
	})
	if a := g.get(t, "/plain", nil); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("a plain request: status %d, Retry-After %q", a.status, a.header.Get("Retry-After"))
	}
	if up := g.shown(t, "default", b.addr); up.State != "maintenance" || up.Live != len(conns) {
		t.Errorf("shown as %+v", up)
	}
	for _, conn := range conns {
		conn.ping(t, "still here")
	}
	g.setState(t, b.addr, "ready")
	overWS.open(t, g, "/ws", nil).ping(t, "new")
	if a := g.get(t, "/plain", nil); a.status != 200 {
		t.Errorf("a plain request when it is ready again: status %d", a.status)
	}
	if n := len(book.closedBy(b.addr)); n != 0 {
		t.Errorf("%d connections were closed", n)
	}
}

// TestDrainEndsTheLiveAndTakesNothingNew ends all within the period, who was
// idle for longest first, and lets the other upstream serve.
func TestDrainEndsTheLiveAndTakesNothingNew(t *testing.T) {
	drained, other := newBackend(t, echo), newBackend(t, named)
	g := start(t, fmt.Sprintf("ws_gateway %s %s {\n lb_policy first\n drain_period 1200ms\n }", drained.addr, other.addr))
	conns := oneOfEach(t, g)
	slices.Reverse(conns)
	for i, conn := range conns { // the last to be opened are the longest idle
		conn.ping(t, fmt.Sprint("busy ", i))
	}
	began := time.Now()
	defer g.setState(t, drained.addr, "ready")
	g.setState(t, drained.addr, "drain")
	if got, _ := where(t, g, nil); got != other.addr {
		t.Errorf("a new connection went to %s", got)
	}
	if got := wherePlain(t, g, nil); got != other.addr {
		t.Errorf("a plain request went to %s", got)
	}
	for i, conn := range conns {
		conn.expectClose(t, 1012)
		// The i-th of four leaves in the i-th quarter of the period.
		if after, soonest := time.Since(began), time.Duration(i)*300*time.Millisecond-50*time.Millisecond; after < soonest {
			t.Errorf("connection %d was closed after %v, before its turn at %v", i, after, soonest)
		}
		conn.mustSend(t, closing(1012, ""))
	}
	eventually(t, "the closed lines", func() bool { return len(book.closedBy(drained.addr)) == len(conns) })
	for _, line := range book.closedBy(drained.addr) {
		if line.str("by") != "gateway" || line.num("code") != 1012 {
			t.Errorf("logged by %q with code %v", line.str("by"), line.num("code"))
		}
	}
	g.waitConnections(t, 1)
	g.setState(t, drained.addr, "ready")
	overWS.open(t, g, "/ws", nil).ping(t, "new")
}

// TestStateSurvivesReloads of any kind, as long as the process knows the
// upstream, and applies to every gateway that names it.
func TestStateSurvivesReloads(t *testing.T) {
	kept, other := newBackend(t, named), newBackend(t, named)
	g := start(t, "ws_gateway "+kept.addr)
	defer g.setState(t, kept.addr, "ready")
	g.setState(t, kept.addr, "drain")
	for _, site := range []string{
		"ws_gateway " + kept.addr + " {\n max_conns 3\n }",
		"respond /x hello\nws_gateway " + kept.addr + " " + other.addr,
		"respond gone",
		"ws_gateway " + kept.addr + " " + other.addr + " {\n lb_policy first\n }",
	} {
		g.reload(t, site)
		if site == "respond gone" {
			continue
		}
		if up := g.shown(t, "default", kept.addr); up.State != "drain" {
			t.Fatalf("after the reload to %s it is shown as %+v", site, up)
		}
	}
	a := overWS.do(t, g, "/ws", nil)
	if a.conn == nil {
		t.Fatalf("status %d", a.status)
	}
	if f, err := a.conn.next(); err != nil || string(f.payload) != other.addr {
		t.Errorf("a new connection went to %v, %v", f, err)
	}
	g.setState(t, kept.addr, "ready")
	if got, _ := where(t, g, nil); got != kept.addr {
		t.Errorf("when it is ready again a new connection went to %s", got)
	}
}

// TestStateOfAUnixSocket goes by its address, however HTTP lets it through.
func TestStateOfAUnixSocket(t *testing.T) {
	b := newUnixBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr)
	conn := overWS.open(t, g, "/ws", nil)
	conn.ping(t, "over a unix socket")
	defer g.setState(t, b.addr, "ready")
	for how, path := range map[string]string{
		"escaped":             "/" + url.PathEscape(b.addr),
		"one slash":           "/" + strings.Replace(b.addr, "//", "/", 1),
		"parameter":           "?address=" + b.addr,
		"parameter, escaped":  "?address=" + url.QueryEscape(b.addr),
		"parameter and slash": "/?address=" + b.addr,
	} {
		if status, body := g.adminDo(t, "POST", "/ws_gateway/upstreams"+path, "", `{"state":"maintenance"}`); status != 200 {
			t.Errorf("%s: %d %s", how, status, body)
		}
		overWS.refused(t, g, "/ws", nil, 503)
		conn.ping(t, "still here")
		g.setState(t, b.addr, "ready")
		overWS.open(t, g, "/ws", nil).finish(t)
	}
	status, body := g.adminDo(t, "POST", "/ws_gateway/upstreams?address=/run/app.sock", "", `{"state":"drain"}`)
	if status != 404 || !strings.Contains(body, b.addr) {
		t.Errorf("an unknown one: %d %s, want 404 and %s in it", status, body, b.addr)
	}
}

// TestUpstreamStateMetric is 1 for the state that holds and 0 for the others.
func TestUpstreamStateMetric(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr+" {\n fail_duration 1h\n }")
	expect := func(want string) {
		t.Helper()
		for _, state := range []string{"ready", "drain", "maintenance", "unhealthy"} {
			value := g.sum(t, "caddy_ws_gateway_upstream_state", `gateway="default"`, `upstream="`+b.addr+`"`, `state="`+state+`"`)
			if is := value == 1; is != (state == want) || value > 1 {
				t.Errorf("while it is %s: %s is %v", want, state, value)
			}
		}
	}
	expect("ready")
	defer g.setState(t, b.addr, "ready")
	for _, state := range []string{"drain", "maintenance", "ready"} {
		g.setState(t, b.addr, state)
		expect(state)
	}
	b.kill()
	overWS.refused(t, g, "/ws", nil, 503)
	expect("unhealthy")
	g.setState(t, b.addr, "maintenance")
	expect("maintenance")
}
