package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// where opens a WebSocket and returns the backend that answered it.
func where(t *testing.T, g *gateway, header http.Header) (string, *wsConn) {
	t.Helper()
	conn := overWS.open(t, g, "/ws", header)
	f, err := conn.next()
	if err != nil {
		t.Fatal(err)
	}
	return string(f.payload), conn
}

func wherePlain(t *testing.T, g *gateway, header http.Header) string {
	t.Helper()
	a := g.get(t, "/page", header)
	if a.status != 200 {
		t.Fatalf("plain request: status %d: %s", a.status, a.body)
	}
	return strings.TrimPrefix(a.body, "plain from ")
}

// TestLeastConnSeesBothKindsOfTraffic lets live WebSockets and running requests
// count together.
func TestLeastConnSeesBothKindsOfTraffic(t *testing.T) {
	for _, policy := range []string{"", "lb_policy least_conn"} {
		all, addrs := backends(t, 2, named)
		g := start(t, "ws_gateway "+addrs+" {\n "+policy+"\n }")
		first, _ := where(t, g, nil)
		other := all[0].addr
		if other == first {
			other = all[1].addr
		}
		for range 20 {
			if got := wherePlain(t, g, nil); got != other {
				t.Fatalf("a plain request went to %s, which holds a WebSocket, and not to %s", got, other)
			}
		}

		running := make(chan string, 1)
		release := make(chan struct{})
		for _, b := range all {
			b.set(func() {
				b.onGet = func(c *backendConn) {
					running <- c.b.addr
					<-release
				}
			})
		}
		finished := make(chan struct{})
		go func() {
			defer close(finished)
			wherePlain(t, g, nil)
		}()
		if got := receive(t, "the running request", running); got != other {
			t.Fatalf("the running request is at %s, want %s", got, other)
		}
		// Now each holds one; the next two handshakes must go one to each.
		second, _ := where(t, g, nil)
		third, _ := where(t, g, nil)
		if second == third {
			t.Errorf("with one WebSocket at %s and one request at %s, two handshakes both went to %s", first, other, second)
		}
		close(release)
		<-finished
	}
}

// TestRoundRobinTakesTurns over both kinds of traffic with one turn.
func TestRoundRobinTakesTurns(t *testing.T) {
	all, addrs := backends(t, 3, named)
	g := start(t, "ws_gateway "+addrs+" {\n lb_policy round_robin\n }")
	for i := range 30 {
		if i%2 == 0 {
			where(t, g, nil)
		} else {
			wherePlain(t, g, nil)
		}
	}
	for _, b := range all {
		if n := len(b.requests); n != 10 {
			t.Errorf("%s got %d of 30, want 10", b.addr, n)
		}
	}
}

// TestWeightedRoundRobinKeepsTheWeights over whole periods.
func TestWeightedRoundRobinKeepsTheWeights(t *testing.T) {
	all, addrs := backends(t, 3, named)
	g := start(t, "ws_gateway "+addrs+" {\n lb_policy weighted_round_robin 3 2 1\n }")
	for range 18 {
		where(t, g, nil)
	}
	for range 18 {
		wherePlain(t, g, nil)
	}
	for i, want := range []int{9, 6, 3} {
		if n := all[i].count(&all[i].opened); n != want {
			t.Errorf("upstream %d got %d handshakes, want %d", i, n, want)
		}
		if n := len(all[i].requests); n != 2*want {
			t.Errorf("upstream %d got %d requests and handshakes, want %d", i, n, 2*want)
		}
	}
}

// TestFirstStaysWithTheFirst that can take it.
func TestFirstStaysWithTheFirst(t *testing.T) {
	all, addrs := backends(t, 3, named)
	g := start(t, "ws_gateway "+addrs+" {\n lb_policy first\n max_conns 2\n }")
	for i, want := range []*backend{all[0], all[0], all[1], all[1], all[2], all[2]} {
		if got, _ := where(t, g, nil); got != want.addr {
			t.Errorf("connection %d went to %s, want %s", i, got, want.addr)
		}
	}
	if got := wherePlain(t, g, nil); got != all[0].addr {
		t.Errorf("a plain request went to %s, want the first, which is full only for WebSockets", got)
	}
}

// TestRandomChooseTwoNeverTakesTheFuller of its two: with two upstreams that is
// least_conn, and exact even for handshakes at once.
func TestRandomChooseTwoNeverTakesTheFuller(t *testing.T) {
	all, addrs := backends(t, 2, hold)
	g := start(t, "ws_gateway "+addrs+" {\n lb_policy random_choose 2\n }")
	storm(t, g, overWS, 100)
	if fewest, most := spread(all); most-fewest > 1 {
		t.Errorf("backends hold between %d and %d connections", fewest, most)
	}
}

// TestHashPoliciesKeepAClientInItsPlace for handshakes and requests alike.
func TestHashPoliciesKeepAClientInItsPlace(t *testing.T) {
	for _, policy := range []string{"header X-Room", "query room", "client_ip_hash", "ip_hash", "uri_hash"} {
		t.Run(policy, func(t *testing.T) {
			_, addrs := backends(t, 4, named)
			g := start(t, "ws_gateway "+addrs+" {\n lb_policy "+policy+"\n }")
			places := map[string]bool{}
			for room := range 12 {
				header := http.Header{"X-Room": {fmt.Sprint(room)}}
				path := fmt.Sprintf("/ws?room=%d", room)
				conn := overWS.open(t, g, path, header)
				f, err := conn.next()
				if err != nil {
					t.Fatal(err)
				}
				places[string(f.payload)] = true
				for range 3 {
					if a := g.get(t, path, header); a.body != "plain from "+string(f.payload) {
						t.Fatalf("room %d: the WebSocket is at %s but a request got %q", room, f.payload, a.body)
					}
				}
			}
			if spreads := strings.HasPrefix(policy, "header") || strings.HasPrefix(policy, "query") || policy == "uri_hash"; spreads && len(places) < 2 {
				t.Errorf("12 rooms all went to %v", places)
			}
		})
	}
}

// TestCookiePolicySticks to the upstream that the first answer named.
func TestCookiePolicySticks(t *testing.T) {
	_, addrs := backends(t, 4, named)
	g := start(t, "ws_gateway "+addrs+" {\n lb_policy cookie lb secret\n }")
	eachCarrier(t, func(t *testing.T, c carrier) {
		conn := c.open(t, g, "/ws", nil)
		f, err := conn.next()
		if err != nil {
			t.Fatal(err)
		}
		cookie, _, _ := strings.Cut(conn.header.Get("Set-Cookie"), ";")
		if !strings.HasPrefix(cookie, "lb=") {
			t.Fatalf("Set-Cookie is %q, want the cookie lb", conn.header.Get("Set-Cookie"))
		}
		header := http.Header{"Cookie": {cookie}}
		for range 5 {
			if got, _ := where(t, g, header); got != string(f.payload) {
				t.Errorf("with the cookie a handshake went to %s, not to %s", got, f.payload)
			}
			if got := wherePlain(t, g, header); got != string(f.payload) {
				t.Errorf("with the cookie a request went to %s, not to %s", got, f.payload)
			}
		}
	})
}

// TestMaintenanceLeavesSessionsWhoseCookieNamesIt as those of clients that poll and
// upgrade later, and drain does not.
func TestMaintenanceLeavesSessionsWhoseCookieNamesIt(t *testing.T) {
	all, addrs := backends(t, 3, named)
	g := start(t, "ws_gateway "+addrs+" {\n lb_policy cookie lb secret\n fail_duration 1h\n }")
	first := g.get(t, "/page", nil)
	home := strings.TrimPrefix(first.body, "plain from ")
	cookie, _, _ := strings.Cut(first.header.Get("Set-Cookie"), ";")
	header := http.Header{"Cookie": {cookie}}
	defer g.setState(t, home, "ready")
	expect := func(when string, stays bool) {
		t.Helper()
		for range 5 {
			if a := g.get(t, "/page", header); (a.body == "plain from "+home) != stays || stays && a.header.Get("Set-Cookie") != "" {
				t.Errorf("%s: a request of the session got %q and the cookie %q", when, a.body, a.header.Get("Set-Cookie"))
			}
			if got := wherePlain(t, g, nil); got == home {
				t.Errorf("%s: a newcomer's request went there", when)
			}
			if got, _ := where(t, g, nil); got == home {
				t.Errorf("%s: a newcomer's handshake went there", when)
			}
		}
		eachCarrier(t, func(t *testing.T, c carrier) {
			conn := c.open(t, g, "/ws", header)
			defer conn.kill()
			if f, err := conn.next(); err != nil || (string(f.payload) == home) != stays {
				t.Errorf("%s: the handshake of the session went to %s: %v", when, f.payload, err)
			}
		})
	}
	g.setState(t, home, "maintenance")
	expect("in maintenance", true)
	g.setState(t, home, "drain")
	expect("in drain", false)
	g.setState(t, home, "maintenance")
	expect("in maintenance again", true)
	for _, b := range all {
		if b.addr == home {
			b.kill()
		}
	}
	_, conn := where(t, g, header) // which finds out
	conn.kill()
	expect("when it is dead", false)
}

// TestWeightedLeastConnHoldsTheWeights at any time, and after some have left.
func TestWeightedLeastConnHoldsTheWeights(t *testing.T) {
	all, addrs := backends(t, 3, hold)
	g := start(t, "ws_gateway "+addrs+" {\n lb_policy weighted_least_conn 3 2 1\n }")
	conns, _ := storm(t, g, overWS, 60)
	expect := func(want ...int) {
		t.Helper()
		for i, b := range all {
			if n := b.count(&b.live); n != want[i] {
				t.Errorf("upstream %d holds %d, want %d", i, n, want[i])
			}
		}
	}
	expect(30, 20, 10)
	killAll(conns[:30])
	g.waitConnections(t, 30)
	storm(t, g, overWS, 30)
	expect(30, 20, 10)
}

// TestBoundedHashKeepsAUserInPlaceAndBoundsTheLoad goes by who is logged in.
func TestBoundedHashKeepsAUserInPlaceAndBoundsTheLoad(t *testing.T) {
	all, addrs := backends(t, 4, named)
	g := start(t, "ws_gateway "+addrs+` {
		lb_policy bounded_hash {http.auth.user.id} 1.5
		auth {
			bearer one alice
			bearer two bob
		}
	}`)
	place, conn := where(t, g, bearer("one"))
	for range 10 {
		conn.kill()
		g.waitConnections(t, 0)
		var again string
		if again, conn = where(t, g, bearer("one")); again != place {
			t.Fatalf("alice was at %s and is at %s now", place, again)
		}
	}
	for range 39 {
		where(t, g, bearer("one"))
	}
	if _, most := spread(all); most > 15 {
		t.Errorf("one upstream holds %d of 40, more than 1.5 times the mean", most)
	}
	if first, _ := spread(all); first > 10 {
		t.Errorf("the least of four holds %d of 40", first)
	}
}

// TestStockReverseProxySeesTheWebSocketsOfAGateway with our policies.
func TestStockReverseProxySeesTheWebSocketsOfAGateway(t *testing.T) {
	for _, policy := range []string{"weighted_least_conn 1 1", "bounded_hash {query.room} 1"} {
		t.Run(policy, func(t *testing.T) {
			all, addrs := backends(t, 2, named)
			g := start(t, fmt.Sprintf("ws_gateway /ws %s {\n lb_policy first\n }\nreverse_proxy %s {\n lb_policy %s\n }", addrs, addrs, policy))
			plain := func(i int) string { return g.get(t, fmt.Sprint("/page?room=", i), nil).body }
			for range 20 {
				where(t, g, nil) // all at the first
			}
			for i := range 10 {
				if got := plain(i); got != "plain from "+all[1].addr {
					t.Fatalf("got %q from the one that holds 20 WebSockets", got)
				}
			}
			defer g.setState(t, all[1].addr, "ready")
			g.setState(t, all[1].addr, "drain")
			if got := plain(1); got != "plain from "+all[0].addr {
				t.Errorf("got %q from the one that drains", got)
			}
		})
	}
}
