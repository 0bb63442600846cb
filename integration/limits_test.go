package integration

import (
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// limitedSite is a gateway with limits.
func limitedSite(upstream, name, limits string, more ...string) string {
	return fmt.Sprintf("ws_gateway %s {\n name %s\n limit {\n %s\n }\n %s\n }", upstream, name, limits, strings.Join(more, "\n"))
}

// bursting opens connections over all carriers at once, with these headers in turn, and
// returns those that were let in, counted as 101, and how many were answered how.
func bursting(t *testing.T, g *gateway, each int, headers ...http.Header) (conns []*wsConn, byStatus map[int]int) {
	t.Helper()
	return atOnce(t, each*len(carriers), func(i int) (answer, error) {
		c := carriers[i%len(carriers)]
		a, err := c.try(g, "/ws", headers[i/len(carriers)%len(headers)])
		switch {
		case err != nil:
			return a, fmt.Errorf("over %s: %w", c.name, err)
		case a.conn != nil:
			a.status = 101
		case a.header.Get("Retry-After") != "5":
			t.Errorf("%d over %s with Retry-After %q", a.status, c.name, a.header.Get("Retry-After"))
		}
		return a, nil
	})
}

// limited is how often a limit of a gateway was met.
func (g *gateway) limited(t *testing.T, name, limit string) float64 {
	t.Helper()
	return g.sum(t, "caddy_ws_gateway_limited_total", `gateway="`+name+`"`, `limit="`+limit+`"`)
}

// TestCapsAreExactUnderABurst of handshakes over all versions of HTTP and by two sites,
// and what shows of those that were not let in.
func TestCapsAreExactUnderABurst(t *testing.T) {
	for _, row := range []struct {
		limit  string
		users  []string
		status int
		let    int // in of 4 × 15
	}{
		{"connections", []string{"alice"}, 503, 7},
		{"connections_per_ip", []string{"alice", "bob", "carol"}, 429, 7},
		{"connections_per_user", []string{"alice", "bob", "carol"}, 429, 21},
	} {
		t.Run(row.limit, func(t *testing.T) {
			name := "burst_" + row.limit
			b := newBackend(t, yielding)
			g := start(t, limitedSite(b.addr, name, row.limit+" 7",
				"auth {\n jwt {\n key \""+jwtSecret+"\"\n }\n }"))
			var headers []http.Header
			for _, user := range row.users {
				headers = append(headers, bearer(tokenFor(user, time.Hour)))
			}
			handshakes := func() float64 {
				return g.sum(t, "caddy_ws_gateway_handshakes_total", `gateway="`+name+`"`, `result="limited"`)
			}
			limitedBefore, handshakesBefore := g.limited(t, name, row.limit), handshakes()
			conns, byStatus := bursting(t, g, 15, headers...)
			want := map[int]int{101: row.let, row.status: 60 - row.let}
			if !reflect.DeepEqual(byStatus, want) {
				t.Errorf("answers by status: %v, want %v", byStatus, want)
			}
			if got := g.limited(t, name, row.limit) - limitedBefore; got != float64(60-row.let) {
				t.Errorf("%v were counted", got)
			}
			if got := handshakes() - handshakesBefore; got != float64(60-row.let) {
				t.Errorf("%v handshakes were limited", got)
			}
			line := book.wait(t, "refused", 60-row.let)
			if line.str("limit") != row.limit || line.str("result") != "limited" || line.num("status") != float64(row.status) {
				t.Errorf("the line is %s", line.raw)
			}
			if peak := b.count(&b.peak); peak > row.let {
				t.Errorf("the upstream held %d at once", peak)
			}
			if a := g.get(t, "/plain", headers[0]); a.status != 200 {
				t.Errorf("a plain request: status %d", a.status)
			}
			killAll(conns)
			g.assertNoLiveSeries(t)
			again, byStatus := bursting(t, g, 15, headers...)
			if !reflect.DeepEqual(byStatus, want) || len(again) != row.let {
				t.Errorf("after all have left: %v, want %v", byStatus, want)
			}
		})
	}
}

// TestHandshakesOverTheRateAskNobody about their tokens.
func TestHandshakesOverTheRateAskNobody(t *testing.T) {
	b := newBackend(t, echo)
	service := newIntrospector(t)
	service.answer.Store(`{"active":false}`)
	g := start(t, limitedSite(b.addr, "rate", "handshakes_per_ip 3/1h", "auth {\n introspect "+service.url+"/introspect 0s\n }"))
	before := g.limited(t, "rate", "handshakes_per_ip")
	for i := range 10 {
		c, want := carriers[i%len(carriers)], 401
		if i >= 3 {
			want = 429
		}
		a := c.refused(t, g, "/ws", bearer(fmt.Sprint("token-", i)), want)
		wait, _ := strconv.Atoi(a.header.Get("Retry-After"))
		if over := i >= 3; over && (wait < 1190 || wait > 1200) || !over && wait != 0 {
			t.Errorf("number %d: Retry-After %d", i, wait)
		}
	}
	if calls := service.calls.Load(); calls != 3 {
		t.Errorf("the service was asked %d times, want 3", calls)
	}
	line := book.wait(t, "refused", 4)
	if line.str("limit") != "handshakes_per_ip" || line.num("status") != 429 || line.str("result") != "limited" {
		t.Errorf("the line is %s", line.raw)
	}
	if got := g.limited(t, "rate", "handshakes_per_ip") - before; got != 7 {
		t.Errorf("%v were counted, want 7", got)
	}
	for range 5 {
		if a := g.get(t, "/plain", bearer("another")); a.status != 401 {
			t.Errorf("a plain request: status %d", a.status)
		}
	}
}

// TestAddressIsTheClientsBehindTrustedProxies alone.
func TestAddressIsTheClientsBehindTrustedProxies(t *testing.T) {
	b := newBackend(t, hold)
	from := func(address string) http.Header { return http.Header{"X-Forwarded-For": {address}} }
	for name, row := range map[string]struct {
		options string
		second  int // what another address is answered
		ip      string
	}{
		"trusted": {"servers {\n trusted_proxies static 127.0.0.0/8\n }", 101, "203.0.113.7"},
		"anyone":  {"", 429, "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			g := startWith(t, row.options, limitedSite(b.addr, "proxied", "connections_per_ip 1"))
			first := overWS.open(t, g, "/ws", from("203.0.113.7"))
			overWSS.refused(t, g, "/ws", from("203.0.113.7"), 429)
			if line := book.wait(t, "refused", 1); line.str("remote_ip") != row.ip {
				t.Errorf("the line is %s", line.raw)
			}
			second := overWS.do(t, g, "/ws", from("203.0.113.8"))
			if second.status != row.second {
				t.Errorf("another address: %d, want %d", second.status, row.second)
			}
			if second.conn != nil {
				second.conn.finish(t)
			}
			first.finish(t)
			g.assertNoLiveSeries(t)
			overH2.open(t, g, "/ws", from("203.0.113.7")).finish(t)
		})
	}
}

// TestReloadThatLowersACapEndsNobody and lets nobody in until there are fewer.
func TestReloadThatLowersACapEndsNobody(t *testing.T) {
	b := newBackend(t, echo)
	site := func(limits string) string { return limitedSite(b.addr, "lowered", limits) }
	g := start(t, site("connections 4"))
	var conns []*wsConn
	for _, c := range carriers {
		conns = append(conns, c.open(t, g, "/ws", nil))
	}
	overWS.refused(t, g, "/ws", nil, 503)
	g.reload(t, site("connections 2"))
	for i, c := range conns {
		c.ping(t, fmt.Sprint("still here ", i))
	}
	for i, c := range conns {
		if a := overWS.do(t, g, "/ws", nil); a.status != 503 {
			t.Fatalf("with %d left: status %d", len(conns)-i, a.status)
		}
		if len(conns)-i == 2 {
			break
		}
		c.finish(t)
		g.waitConnections(t, len(conns)-i-1)
	}
	conns[2].finish(t)
	g.waitConnections(t, 1)
	overWSS.open(t, g, "/ws", nil)
	overWS.refused(t, g, "/ws", nil, 503)
}

// TestReloadThatBringsACapCountsTheLiving by address and by user.
func TestReloadThatBringsACapCountsTheLiving(t *testing.T) {
	b := newBackend(t, echo)
	auth := "auth {\n optional\n jwt {\n key \"" + jwtSecret + "\"\n }\n }"
	g := start(t, "ws_gateway "+b.addr+" {\n name brought\n "+auth+"\n }")
	alice, bob := bearer(tokenFor("alice", time.Hour)), bearer(tokenFor("bob", time.Hour))
	var conns []*wsConn
	for _, c := range carriers {
		conns = append(conns, c.open(t, g, "/ws", alice))
	}
	g.reload(t, limitedSite(b.addr, "brought", "connections_per_user 4", auth))
	if a := overWS.do(t, g, "/ws", alice); a.status != 429 {
		t.Fatalf("a fifth of a user: status %d", a.status)
	}
	overH2.open(t, g, "/ws", bob).finish(t)
	g.waitConnections(t, 4)
	g.reload(t, limitedSite(b.addr, "brought", "connections_per_ip 4", auth))
	if a := overWS.do(t, g, "/ws", bob); a.status != 429 {
		t.Fatalf("a fifth of an address: status %d", a.status)
	}
	for _, c := range conns {
		c.ping(t, "undisturbed")
		c.finish(t)
	}
	g.assertNoLiveSeries(t)
	overWS.open(t, g, "/ws", nil)
}

// TestAdminShowsLimitsAndTheirUse in this form.
func TestAdminShowsLimitsAndTheirUse(t *testing.T) {
	b := newBackend(t, hold)
	g := start(t, limitedSite(b.addr, "shown_limits",
		"connections 100\n connections_per_ip 50\n connections_per_user 20\n handshakes_per_ip 1000/1m\n "+
			"message_size 64KiB\n messages 20/1s burst 100\n bytes 1MiB/1s close",
		"auth {\n optional\n jwt {\n key \""+jwtSecret+"\"\n }\n }"))
	alice, bob := bearer(tokenFor("alice", time.Hour)), bearer(tokenFor("bob", time.Hour))
	for _, header := range []http.Header{bob, alice, alice, nil} {
		conn := overWSS.open(t, g, "/ws", header)
		defer conn.finish(t)
	}
	const want = `{"connections":{"used":4,"max":100},` +
		`"connections_per_ip":{"max":50,"top":[{"address":"127.0.0.1","used":4}]},` +
		`"connections_per_user":{"max":20,"top":[{"user":"alice","used":2},{"user":"bob","used":1}]},` +
		`"handshakes_per_ip":{"max":1000,"per":"1m0s"},"message_size":{"max":65536},` +
		`"messages":{"max":20,"per":"1s","burst":100,"action":"wait"},` +
		`"bytes":{"max":1048576,"per":"1s","burst":1048576,"action":"close"}}`
	all := g.gateways(t)
	if len(all) != 1 {
		t.Fatalf("%d gateways", len(all))
	}
	if got := string(all[0].Limits); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
}
