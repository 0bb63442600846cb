package integration

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"
)

// TestMaxAgeEndsOldConnections with 1012, over every way in.
func TestMaxAgeEndsOldConnections(t *testing.T) {
	b := newBackend(t, handOver())
	g := start(t, "ws_gateway "+b.addr+" {\n max_age 400ms 50\n }")
	eachCarrier(t, func(t *testing.T, c carrier) {
		began := time.Now()
		client, upstream := pair(t, g, b, c)
		client.expectClose(t, 1012)
		if took := time.Since(began); took < 200*time.Millisecond {
			t.Errorf("closed after %v, want 400ms give or take the half", took)
		}
		upstream.expectClose(t, 1001)
		client.mustSend(t, closing(1012, ""))
		_ = upstream.Close()
	})
	g.assertNoLiveSeries(t)
	for _, line := range book.closedBy(b.addr) {
		if line.str("by") != "gateway" || line.num("code") != 1012 {
			t.Errorf("logged by %q with code %v", line.str("by"), line.num("code"))
		}
	}
}

// TestMaxAgeIsThatOfTheConfigurationItWasOpenedBy and not of a later one.
func TestMaxAgeIsThatOfTheConfigurationItWasOpenedBy(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr)
	forever := overWS.open(t, g, "/ws", nil)
	g.reload(t, "ws_gateway "+b.addr+" {\n max_age 300ms 0\n }")
	aging := overWS.open(t, g, "/ws", nil)
	g.reload(t, "ws_gateway "+b.addr)
	aging.expectClose(t, 1012)
	forever.ping(t, "still here")
}

// reconnecting is a client that comes back when it is told to. It ends with its
// connection in any other way.
func reconnecting(t *testing.T, g *gateway, told *counter) (leave func()) {
	t.Helper()
	var mu sync.Mutex // guards what follows
	var conn *wsConn
	left := false
	open := func() *wsConn {
		var a answer
		var err error
		poll(patience, func() bool { // a reload may break one off
			a, err = overWS.try(g, "/ws", nil)
			return err == nil
		})
		mu.Lock()
		defer mu.Unlock()
		if err != nil || a.conn == nil || left {
			return nil
		}
		conn = a.conn
		return conn
	}
	first := open()
	if first == nil {
		t.Fatal("no connection")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for c := first; c != nil; c = open() {
			for {
				f, err := readFrame(c.br)
				if err != nil {
					return
				}
				if f.op == opClose {
					_ = c.send(f)
					if f.closeCode() != 1012 {
						return
					}
					told.add()
					break
				}
			}
			c.kill()
		}
	}()
	return func() {
		mu.Lock()
		left = true
		conn.kill()
		mu.Unlock()
		<-done
	}
}

// TestAddedUpstreamIsGivenItsShare by moving no more than the surplus.
func TestAddedUpstreamIsGivenItsShare(t *testing.T) {
	const clients = 40
	all, addrs := backends(t, 3, hold)
	added := newBackend(t, hold)
	g := newGateway(t, "")
	options := " {\n rebalance 100%/2s\n }"
	g.run(t, "ws_gateway "+addrs+options)
	var told counter
	for range clients {
		t.Cleanup(reconnecting(t, g, &told))
	}
	if fewest, most := spread(all); fewest < clients/3 || most > clients/3+1 {
		t.Fatalf("backends hold between %d and %d connections", fewest, most)
	}
	g.reload(t, "ws_gateway "+addrs+" "+added.addr+options)
	all = append(all, added)
	eventually(t, "the added upstream to have its share", func() bool {
		fewest, most := spread(all)
		return fewest >= clients/4-1 && most <= clients/4+1
	})
	eventually(t, "the end of it in the log", func() bool { return len(book.find(ourLogger, "rebalanced")) > 0 })
	if n := told.value(); n > clients/4 {
		t.Errorf("%d of %d were moved, want %d at most", n, clients, clients/4)
	}
}

// TestUnhealthyUpstreamIsDrainedByOption and kept otherwise.
func TestUnhealthyUpstreamIsDrainedByOption(t *testing.T) {
	for _, row := range []struct {
		option string
		drains bool
	}{{"drain_unhealthy", true}, {"", false}} {
		t.Run(fmt.Sprintf("drains %t", row.drains), func(t *testing.T) {
			ill, well := newBackend(t, echo), newBackend(t, echo)
			ill.set(func() {
				ill.health = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
			})
			site := "ws_gateway %s %s {\n lb_policy first\n drain_period 0s\n %s\n }"
			g := start(t, fmt.Sprintf(site, ill.addr, well.addr, ""))
			conns := oneOfEach(t, g)
			g.reload(t, fmt.Sprintf(site, ill.addr, well.addr, "health_uri /health\n health_interval 50ms\n "+row.option))
			eventually(t, "new connections to go elsewhere", func() bool {
				if a, err := overWS.try(g, "/ws", nil); err == nil && a.conn != nil {
					a.conn.kill()
				}
				return well.count(&well.opened) > 0
			})
			if row.drains {
				for _, conn := range conns {
					conn.expectClose(t, 1012)
				}
				return
			}
			for _, conn := range conns {
				conn.ping(t, "still here")
			}
		})
	}
}
