package wsgateway

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

// pool makes upstreams as a provisioned reverse_proxy has them.
func pool(addresses ...string) reverseproxy.UpstreamPool {
	var upstreams reverseproxy.UpstreamPool
	for _, address := range addresses {
		upstreams = append(upstreams, &reverseproxy.Upstream{Dial: address, Host: new(reverseproxy.Host)})
	}
	return upstreams
}

// named counts the calls of addressesOf.
var named atomic.Int64

// addressesOf names n upstreams that no other test knows, because what the
// process knows of an address is shared.
func addressesOf(t *testing.T, n int) []string {
	t.Helper()
	test := named.Add(1)
	addresses := make([]string, n)
	for i := range addresses {
		addresses[i] = fmt.Sprintf("test-%d-host-%d:80", test, i)
	}
	return addresses
}

// load makes a gateway that is loaded, without a server. It takes all that
// Provision makes of the network for granted.
func load(t *testing.T, name string, selector reverseproxy.Selector, addresses []string, set func(*Handler)) *Handler {
	t.Helper()
	h := &Handler{
		Proxy:   &reverseproxy.Handler{Upstreams: pool(addresses...), LoadBalancing: new(reverseproxy.LoadBalancing)},
		running: &running{name: name, logger: zap.NewNop(), live: process},
	}
	if set != nil {
		set(h)
	}
	if err := h.provisionBalancer(selector); err != nil {
		t.Fatal(err)
	}
	h.enter()
	return h
}

// unload is what a reload does to the old configuration.
func unload(t *testing.T, h *Handler) {
	t.Helper()
	if err := h.Cleanup(); err != nil {
		t.Error(err)
	}
}

// connectTo opens a connection through the gateway, without a handshake. It
// returns nothing where the gateway has no upstream to give.
func connectTo(h *Handler) (client, backend *bubble.Peer, at string, refused balance.Refusal) {
	return connectAs(h, (*bubble.Peer).AnswerClose)
}

// connectAs is connectTo for a client that does something else than to answer a
// close.
func connectAs(h *Handler, does func(*bubble.Peer)) (client, backend *bubble.Peer, at string, refused balance.Refusal) {
	lease := new(balance.Lease)
	if up, refusal := h.balancer.choose(lease, balance.Ask{}, h.Proxy.Upstreams, nil, nil); up == nil {
		return nil, nil, "", refusal
	}
	at = lease.Address()
	details, client, backend := linked()
	details.ID, details.Gateway, details.Upstream, details.Lease = live.NewID(), h.name, at, lease
	details.DrainPeriod, details.EarlyClose = h.drainPeriod(), h.earlyClose()
	c := process.NewConn(details, at, live.Authority{})
	process.Add(c)
	go run(c)
	go does(client)
	go backend.AnswerClose()
	return client, backend, at, balance.None
}

// crowd is clients that connect again when they are told to.
type crowd struct {
	gateway func() *Handler    // the one that is loaded
	does    func(*bubble.Peer) // what each does with its connection
	pause   time.Duration      // each stays away for less than that; a second if 0

	mu    sync.Mutex
	moved []time.Time // when each was told to
	codes map[int]int
	gone  bool // they stay away from now on
	away  sync.WaitGroup
	live  []*bubble.Peer
}

func newCrowd(gateway func() *Handler, n int) *crowd {
	c := &crowd{gateway: gateway, codes: make(map[int]int), does: (*bubble.Peer).AnswerClose}
	for range n {
		c.join()
	}
	return c
}

// drop ends one connection from the client's side, and has another client come.
func (c *crowd) drop() {
	c.mu.Lock()
	i := rand.IntN(len(c.live))
	client := c.live[i]
	c.live = slices.Delete(c.live, i, i+1)
	c.mu.Unlock()
	_ = client.Close()
	c.join()
}

// join makes one client, who comes back after a pause when it is told to go.
func (c *crowd) join() {
	client, _, _, refused := connectAs(c.gateway(), c.does)
	if refused != balance.None {
		return
	}
	c.mu.Lock()
	c.live = append(c.live, client)
	c.mu.Unlock()
	c.away.Go(func() {
		code := <-client.Code
		if code == 0 {
			return
		}
		c.mu.Lock()
		c.moved = append(c.moved, time.Now())
		c.codes[code]++
		stay := c.gone
		c.mu.Unlock()
		if !stay {
			pause := c.pause
			if pause == 0 {
				pause = time.Second
			}
			elapse(time.Duration(rand.Int64N(int64(pause))))
			c.join()
		}
	})
}

// stayAway is whether who is told to go does not come back.
func (c *crowd) stayAway(gone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = gone
}

func (c *crowd) movedSoFar() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.moved)
}

// leave ends every connection.
func (c *crowd) leave() {
	c.mu.Lock()
	c.gone = true
	live := slices.Clone(c.live)
	c.mu.Unlock()
	for _, client := range live {
		_ = client.Close()
	}
	c.away.Wait()
	elapse(time.Minute)
}

// loads is what the gateway holds at each address.
func loads(name string, addresses []string) []int {
	held := make([]int, len(addresses))
	staying := process.Staying(name)
	for i, address := range addresses {
		held[i] = staying[address]
	}
	return held
}

// requestWith is a request with a replacer, as Caddy's server makes it.
func requestWith(placeholders map[string]string) *http.Request {
	repl := caddy.NewReplacer()
	for name, value := range placeholders {
		repl.Set(name, value)
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	return r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, repl))
}

func TestWeightsThatDoNotFitAreRefusedInJSON(t *testing.T) {
	prepareValidation(t)
	for name, row := range map[string]struct {
		policy    string
		upstreams string
		want      string
	}{
		"too few":               {`{"policy":"weighted_least_conn","weights":[1]}`, `"upstreams":[{"dial":"a:1"},{"dial":"b:1"}]`, "1 weights for 2 upstreams"},
		"too many":              {`{"policy":"weighted_least_conn","weights":[1,2]}`, `"upstreams":[{"dial":"a:1"}]`, "2 weights for 1 upstreams"},
		"negative":              {`{"policy":"weighted_least_conn","weights":[1,-1]}`, `"upstreams":[{"dial":"a:1"},{"dial":"b:1"}]`, "-1 is negative"},
		"all zero":              {`{"policy":"weighted_least_conn","weights":[0,0]}`, `"upstreams":[{"dial":"a:1"},{"dial":"b:1"}]`, "at least one must be above 0"},
		"none":                  {`{"policy":"weighted_least_conn"}`, `"upstreams":[{"dial":"a:1"}]`, "at least one must be above 0"},
		"round robin, too few":  {`{"policy":"weighted_round_robin","weights":[1]}`, `"upstreams":[{"dial":"a:1"},{"dial":"b:1"}]`, "1 weights for 2 upstreams"},
		"round robin, negative": {`{"policy":"weighted_round_robin","weights":[2,-1]}`, `"upstreams":[{"dial":"a:1"},{"dial":"b:1"}]`, "negative"},
		"dynamic":               {`{"policy":"weighted_least_conn","weights":[1]}`, `"dynamic_upstreams":{"source":"a","name":"x","port":"1"}`, "not dynamic ones"},
		"hash without a key":    {`{"policy":"bounded_hash"}`, `"upstreams":[{"dial":"a:1"}]`, "no placeholder"},
		"factor below 1":        {`{"policy":"bounded_hash","key":"{x}","factor":0.5}`, `"upstreams":[{"dial":"a:1"}]`, "factor: 0.5 is below 1"},
		"negative factor":       {`{"policy":"bounded_hash","key":"{x}","factor":-2}`, `"upstreams":[{"dial":"a:1"}]`, "factor: -2 is below 1"},
	} {
		t.Run(name, func(t *testing.T) {
			err := validateGateway(fmt.Sprintf(`"proxy":{%s,"load_balancing":{"selection_policy":%s}}`, row.upstreams, row.policy))
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q in it", err, row.want)
			}
		})
	}
}

func TestSettingsThatMakeNoSenseAreRefusedInJSON(t *testing.T) {
	prepareValidation(t)
	for name, row := range map[string]struct{ settings, want string }{
		"max_conns":              {`"max_conns":-1`, "max_conns: -1 is negative"},
		"queue without a cap":    {`"queue":{"size":5}`, "without max_conns"},
		"queue of none":          {`"max_conns":1,"queue":{"size":0}`, "1 or more"},
		"queue, negative":        {`"max_conns":1,"queue":{"size":5,"timeout":-1}`, "not negative"},
		"slow_start":             {`"slow_start":-1`, "slow_start"},
		"rebalance, no percent":  {`"rebalance":{"per":1000}`, "0 percent"},
		"rebalance, too many":    {`"rebalance":{"percent":100.5,"per":1000}`, "100.5 percent"},
		"rebalance, no time":     {`"rebalance":{"percent":10}`, "rebalance: 0s"},
		"max_age":                {`"max_age":{"duration":0}`, "max_age: 0s"},
		"max_age, jitter":        {`"max_age":{"duration":1000,"jitter_percent":101}`, "jitter of 101"},
		"early_close_count":      {`"early_close_count":-1`, "early_close_count: -1 is negative"},
		"early closes for ever":  {`"early_close_count":3`, "set fail_duration"},
		"early_close_window":     {`"early_close_window":1000`, "without early_close_count"},
		"panic_threshold, above": {`"panic_threshold":101`, "101 is not a percentage"},
		"panic_threshold, below": {`"panic_threshold":-1`, "-1 is not a percentage"},
		"health_websocket":       {`"health_websocket":{"uri":"ws://a/b"}`, "must be a path"},
	} {
		t.Run(name, func(t *testing.T) {
			err := validateGateway(`"proxy":{"upstreams":[{"dial":"a:1"}]},` + row.settings)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q in it", err, row.want)
			}
		})
	}
}

// validateGateway loads a gateway up to where it would serve.
func validateGateway(settings string) error {
	config := new(caddy.Config)
	err := caddy.StrictUnmarshalJSON(fmt.Appendf(nil,
		`{"apps":{"http":{"servers":{"s":{"listen":[":0"],"routes":[{"handle":[{"handler":"ws_gateway",%s}]}]}}}}}`, settings), config)
	if err != nil {
		return err
	}
	return caddy.Validate(config)
}

// A policy of Caddy's that looks at the upstreams alone chooses first, and the
// place is counted afterwards: in between someone else may have taken the last.
func TestCapHoldsUnderPoliciesThatDoNotCount(t *testing.T) {
	t.Parallel()
	for name, selector := range map[string]reverseproxy.Selector{
		"first": new(reverseproxy.FirstSelection), "random": new(reverseproxy.RandomSelection), "ip_hash": new(reverseproxy.IPHashSelection),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addresses := addressesOf(t, 3)
			h := load(t, "cap-"+name, selector, addresses, func(h *Handler) { h.MaxConns = 7 })
			defer unload(t, h)
			leases := make(chan *balance.Lease, 200)
			var wg sync.WaitGroup
			for range 200 {
				wg.Go(func() {
					lease := new(balance.Lease)
					r := requestWith(nil)
					up, refusal := h.balancer.choose(lease, balance.Ask{}, h.Proxy.Upstreams, httptest.NewRecorder(), r)
					if up == nil && refusal != balance.Full {
						t.Errorf("refused with %d, want that all are full", refusal)
					}
					if up != nil {
						leases <- lease
					}
				})
			}
			wg.Wait()
			close(leases)
			if n := len(leases); n != 21 {
				t.Errorf("%d were let in, want 21", n)
			}
			for _, address := range addresses {
				if live := process.Ledger.Look(address).Live; live != 7 {
					t.Errorf("%s holds %d, want 7", address, live)
				}
			}
			for lease := range leases {
				lease.Release()
			}
			for _, address := range addresses {
				if live := process.Ledger.Look(address).Live; live != 0 {
					t.Errorf("%s holds %d at the end", address, live)
				}
			}
		})
	}
}

// Two handlers of a process, or the old and the new one of a reload, name the
// same address: the cap is that of the address.
func TestCapIsOverAllGatewaysOfTheProcess(t *testing.T) {
	t.Parallel()
	addresses := addressesOf(t, 1)
	capped := func(h *Handler) { h.MaxConns = 2 }
	one := load(t, "cap-one", new(reverseproxy.LeastConnSelection), addresses, capped)
	defer unload(t, one)
	two := load(t, "cap-two", new(reverseproxy.RoundRobinSelection), addresses, capped)
	defer unload(t, two)
	leases := make([]balance.Lease, 3)
	for i, h := range []*Handler{one, two, one} {
		up, refusal := h.balancer.choose(&leases[i], balance.Ask{}, h.Proxy.Upstreams, nil, nil)
		if full := up == nil && refusal == balance.Full; full != (i == 2) {
			t.Errorf("connection %d: full %t", i+1, full)
		}
	}
	for i := range leases {
		leases[i].Release()
	}
}

func TestPlaceholdersInAddressesAreFilledInForEachRequest(t *testing.T) {
	t.Parallel()
	base := addressesOf(t, 1)[0]
	host, _, _ := strings.Cut(base, ":")
	h := load(t, "placeholders", new(reverseproxy.LeastConnSelection), []string{host + "-{tenant}:80"}, func(h *Handler) { h.MaxConns = 1 })
	defer unload(t, h)
	var first, second, third balance.Lease
	for _, row := range []struct {
		tenant string
		lease  *balance.Lease
		want   string
	}{{"a", &first, host + "-a:80"}, {"b", &second, host + "-b:80"}, {"a", &third, ""}} {
		r := requestWith(map[string]string{"tenant": row.tenant})
		_, _ = h.balancer.choose(row.lease, balance.Ask{}, h.Proxy.Upstreams, nil, r)
		if got := row.lease.Address(); got != row.want {
			t.Errorf("tenant %s is at %q, want %q", row.tenant, got, row.want)
		}
	}
	first.Release()
	second.Release()
}

// Two policies give a client its place, and only the cookie tells who had it
// before.
func TestMaintenanceIsForThoseWhoseCookieNamesIt(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		selector reverseproxy.Selector
		state    balance.State
		use      balance.Use
		down     bool
		stays    bool
	}{
		"a request":              {new(reverseproxy.CookieHashSelection), balance.Maintenance, balance.Request, false, true},
		"a handshake":            {new(reverseproxy.CookieHashSelection), balance.Maintenance, balance.WebSocket, false, true},
		"with a secret":          {&reverseproxy.CookieHashSelection{Name: "at", Secret: "s3cret"}, balance.Maintenance, balance.Request, false, true},
		"in drain":               {new(reverseproxy.CookieHashSelection), balance.Drain, balance.Request, false, false},
		"in drain, a handshake":  {new(reverseproxy.CookieHashSelection), balance.Drain, balance.WebSocket, false, false},
		"unhealthy":              {new(reverseproxy.CookieHashSelection), balance.Maintenance, balance.Request, true, false},
		"unhealthy, a handshake": {new(reverseproxy.CookieHashSelection), balance.Maintenance, balance.WebSocket, true, false},
		"by a hash":              {new(reverseproxy.IPHashSelection), balance.Maintenance, balance.Request, false, false},
		"by a bounded hash":      {&BoundedHash{Key: "{user}"}, balance.Maintenance, balance.Request, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
			defer cancel()
			if p, ok := row.selector.(caddy.Provisioner); ok {
				if err := p.Provision(ctx); err != nil {
					t.Fatal(err)
				}
			}
			addresses := addressesOf(t, 3)
			h := load(t, "maintenance "+name, row.selector, addresses, func(h *Handler) {
				h.Proxy.HealthChecks = &reverseproxy.HealthChecks{Passive: &reverseproxy.PassiveHealthChecks{MaxFails: 1, FailDuration: caddy.Duration(time.Hour)}}
			})
			defer unload(t, h)
			ask := balance.Ask{Use: row.use}
			acquire := func(cookies []*http.Cookie) (string, []*http.Cookie) {
				t.Helper()
				r := requestWith(map[string]string{"user": "alice"})
				for _, cookie := range cookies {
					r.AddCookie(cookie)
				}
				w := httptest.NewRecorder()
				var lease balance.Lease
				defer lease.Release()
				if up, refusal := h.balancer.choose(&lease, ask, h.Proxy.Upstreams, w, r); up == nil {
					t.Fatalf("refused with %d", refusal)
				}
				return lease.Address(), w.Result().Cookies()
			}
			home, cookies := acquire(nil)
			process.SetState(home, row.state)
			defer process.SetState(home, balance.Ready)
			if row.down {
				h.balancer.Fail(home)
			}
			for range 30 {
				at, renewed := acquire(cookies)
				if stays := at == home; stays != row.stays || stays && len(renewed) > 0 {
					t.Fatalf("who had a place at %s is at %s with %v, want that it stays: %t", home, at, renewed, row.stays)
				}
				if at, _ := acquire(nil); at == home {
					t.Fatal("a newcomer is sent there")
				}
			}
			process.SetState(home, balance.Ready)
			if at, _ := acquire(cookies); (at == home) == row.down {
				t.Errorf("when it is ready again, who was at %s is at %s", home, at)
			}
		})
	}
}

// TestUpstreamThatIsReadyAgainStartsSlowly instead of taking everyone who comes.
func TestUpstreamThatIsReadyAgainStartsSlowly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		addresses := addressesOf(t, 3)
		h := load(t, "slow start", new(reverseproxy.LeastConnSelection), addresses, func(h *Handler) {
			h.SlowStart = caddy.Duration(time.Minute)
		})
		var clients []*bubble.Peer
		join := func(n int) (held map[string]int) {
			held = make(map[string]int)
			for range n {
				client, _, at, _ := connectTo(h)
				clients = append(clients, client)
				held[at]++
			}
			return held
		}
		elapse(time.Minute) // that they are new is over
		cold := addresses[2]
		process.SetState(cold, balance.Maintenance)
		if held := join(40); held[cold] != 0 {
			t.Errorf("one that takes none holds %d", held[cold])
		}
		process.SetState(cold, balance.Ready)
		if held := join(10); held[cold] == 0 || held[cold] > 5 {
			t.Errorf("a cold upstream took %d of 10 at once, want a few", held[cold])
		}
		elapse(time.Minute)
		join(23)
		expectEven(t, loads("slow start", addresses))
		for _, client := range clients {
			_ = client.Close()
		}
		elapse(time.Minute)
		unload(t, h)
	})
}
