package wsgateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/dial"
	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/origin"
	"github.com/wsgateway/caddy-ws-gateway/internal/upgrade"
)

// loadLimited loads a handler that has limits.
func loadLimited(t *testing.T, name string, limit *Limit) *Handler {
	t.Helper()
	policy, err := origin.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return load(t, name, new(reverseproxy.LeastConnSelection), addressesOf(t, 1), func(h *Handler) {
		h.Limit, h.caps, h.originPolicy = limit, limit.caps(), policy
		h.dialer = dial.New(&panickyTransport{}, time.Minute, clientIP)
	})
}

// handshakeFrom is a handshake of a client, as Caddy's server hands it on.
func handshakeFrom(ip, user string) *http.Request {
	r := requestWith(map[string]string{"http.auth.user.id": user})
	r.RemoteAddr = net.JoinHostPort(ip, "4711")
	r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{
		caddyhttp.ClientIPVarKey: ip, caddyhttp.TrustedProxyVarKey: false,
	}))
	r.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	return r
}

// refusedWith has the gateway refuse a request.
func refusedWith(t *testing.T, h *Handler, r *http.Request) (status int, retryAfter string) {
	t.Helper()
	w := httptest.NewRecorder()
	var refused caddyhttp.HandlerError
	if err := h.ServeHTTP(w, r, nil); !errors.As(err, &refused) {
		t.Fatalf("answered %d, %v", w.Code, err)
	}
	return refused.StatusCode, w.Header().Get("Retry-After")
}

// admitted is what a handshake is answered that the limits let in: its upstream is
// silent then.
const admitted = http.StatusGatewayTimeout

func TestHandshakesOfANetworkAreCountedTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		minute := caddy.Duration(time.Minute)
		h := loadLimited(t, "knocking", &Limit{HandshakesPerIP: &HandshakeRate{2, minute}})
		defer unload(t, h)
		narrow := loadLimited(t, "knocking narrowly", &Limit{HandshakesPerIP: &HandshakeRate{1, minute}, IPv6Prefix: 128})
		defer unload(t, narrow)
		for _, row := range []struct {
			h      *Handler
			ip     string
			status int
			wait   string
		}{
			{h, "2001:db8::1", admitted, ""},
			{h, "2001:db8::2", admitted, ""},
			{h, "2001:db8::3:0:0:1", 429, "30"},
			{h, "2001:db8:0:1::1", admitted, ""},
			{h, "192.0.2.1", admitted, ""},
			{h, "192.0.2.2", admitted, ""},
			{h, "192.0.2.1", admitted, ""},
			{h, "192.0.2.1", 429, "30"},
			{h, "::ffff:192.0.2.1", 429, "30"}, // the same in another notation
			{narrow, "2001:db8::1", admitted, ""},
			{narrow, "2001:db8::2", admitted, ""},
			{narrow, "2001:db8::1", 429, "60"},
		} {
			if status, wait := refusedWith(t, row.h, handshakeFrom(row.ip, "")); status != row.status || wait != row.wait {
				t.Errorf("%s at %s: %d, Retry-After %s; want %d, %s", row.ip, row.h.name, status, wait, row.status, row.wait)
			}
		}
		elapse(29*time.Second + 700*time.Millisecond)
		if status, wait := refusedWith(t, h, handshakeFrom("192.0.2.1", "")); status != 429 || wait != "1" {
			t.Errorf("just too early: %d, Retry-After %s", status, wait)
		}
		elapse(time.Second)
		if status, _ := refusedWith(t, h, handshakeFrom("192.0.2.1", "")); status != admitted {
			t.Errorf("in time: %d", status)
		}
		if got := limitedCount(t, "knocking", "handshakes_per_ip"); got != 4 {
			t.Errorf("%v are counted, want 4", got)
		}
	})
}

func TestWhatIsNoSoundHandshakeDoesNotKnock(t *testing.T) {
	t.Parallel()
	h := loadLimited(t, "knocking unsoundly", &Limit{HandshakesPerIP: &HandshakeRate{1, caddy.Duration(time.Hour)}})
	defer unload(t, h)
	for range 3 {
		broken := handshakeFrom("192.0.2.1", "")
		broken.Header.Set("Sec-Websocket-Version", "8")
		if status, _ := refusedWith(t, h, broken); status != 426 {
			t.Errorf("a wrong version: %d", status)
		}
	}
	for _, want := range []int{admitted, 429} {
		if status, _ := refusedWith(t, h, handshakeFrom("192.0.2.1", "")); status != want {
			t.Errorf("a sound handshake: %d, want %d", status, want)
		}
	}
}

func TestEachCapHasItsAnswer(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		limit  Limit
		status int
		word   string
	}{
		"all":     {Limit{Connections: 1}, 503, "connections"},
		"address": {Limit{Connections: 1, ConnectionsPerIP: 1}, 429, "connections_per_ip"},
		"user":    {Limit{Connections: 1, ConnectionsPerUser: 1}, 429, "connections_per_user"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			logger, lines := panicLog()
			h := loadLimited(t, "capped by "+name, &row.limit)
			defer unload(t, h)
			h.logger = logger
			seat, rf := h.takeSeat(httptest.NewRecorder(), handshakeFrom("192.0.2.1", "alice"), new(errands))
			if rf != nil {
				t.Fatal(rf)
			}
			if status, wait := refusedWith(t, h, handshakeFrom("192.0.2.1", "alice")); status != row.status || wait != "5" {
				t.Errorf("answered %d, Retry-After %s", status, wait)
			}
			fields := lines.FilterMessage("refused").All()[0].ContextMap()
			if fields["result"] != "limited" || fields["limit"] != row.word || !strings.Contains(fields["reason"].(string), "has") {
				t.Errorf("the line is %v", fields)
			}
			if got := limitedCount(t, h.name, row.word); got != 1 {
				t.Errorf("%v are counted", got)
			}
			seat.Release()
			if status, _ := refusedWith(t, h, handshakeFrom("192.0.2.1", "alice")); status != admitted || lines.FilterMessage("refused").All()[1].ContextMap()["limit"] != nil {
				t.Errorf("with room: %d, and the line %v", status, lines.All()[1])
			}
		})
	}
}

// takenSeats is how many seats a gateway's connections have.
func takenSeats(h *Handler) int { return h.live.Seats.Usage(h.name, 0).Connections }

func TestSeatIsGivenBackHoweverAHandshakeFails(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		set   func(*Handler)
		panic bool
	}{
		"the upstream is silent": {func(*Handler) {}, false},
		"a transport panics":     {func(h *Handler) { h.dialer = dial.New(&panickyTransport{panics: true}, time.Minute, clientIP) }, true},
		"the choice panics":      {func(h *Handler) { h.balancer = nil }, true},
		"the client is no h1":    {func(h *Handler) { conducting(h, [][]string{{"upgrades"}}) }, false},
		"the upstream forbids":   {func(h *Handler) { conducting(h, [][]string{{"forbids"}}) }, true}, // the proxy is not provisioned
		"the upstream drops it":  {func(h *Handler) { conducting(h, [][]string{{"drops"}}) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := loadLimited(t, "failing: "+name, &Limit{Connections: 1})
			defer unload(t, h)
			balancer := h.balancer
			defer func() { h.balancer = balancer }()
			row.set(h)
			h.logger = zap.NewNop()
			func() {
				defer func() {
					if got := recover() != nil; got != row.panic {
						t.Errorf("it panics: %t", got)
					}
				}()
				_ = h.ServeHTTP(httptest.NewRecorder(), handshakeFrom("192.0.2.1", ""), nil)
			}()
			if taken := takenSeats(h); taken != 0 {
				t.Errorf("%d seats are taken", taken)
			}
		})
	}
}

func TestSeatOfAConnectionThatIsGivenUpIsGivenBack(t *testing.T) {
	t.Parallel()
	for _, made := range []bool{true, false} {
		h := loadLimited(t, "given up with a seat", &Limit{Connections: 1})
		seat, rf := h.takeSeat(httptest.NewRecorder(), handshakeFrom("192.0.2.1", ""), new(errands))
		if rf != nil {
			t.Fatal(rf)
		}
		lease := new(balance.Lease)
		h.balancer.choose(lease, balance.Ask{}, h.Proxy.Upstreams, nil, nil)
		ours, _ := net.Pipe()
		var c *live.Conn
		if made {
			c = process.NewConn(live.Details{ID: live.NewID(), Gateway: h.name, Lease: lease, Seat: seat}, lease.Address(), live.Authority{})
			process.Add(c)
		}
		h.giveUp(&connected{answer: &handshake.Answer{Conn: ours}, lease: lease, seat: seat}, upgrade.Side{}, c)
		if taken := takenSeats(h); taken != 0 {
			t.Errorf("made %t: %d seats are taken", made, taken)
		}
		unload(t, h)
	}
}

func TestHandlersOfOneNameShareTheirSeats(t *testing.T) {
	t.Parallel()
	one := loadLimited(t, "shared seats", &Limit{ConnectionsPerUser: 2})
	other := loadLimited(t, "shared seats", &Limit{ConnectionsPerUser: 1})
	defer unload(t, one)
	defer unload(t, other)
	take := func(h *Handler, user string) *refusal {
		_, rf := h.takeSeat(httptest.NewRecorder(), handshakeFrom("192.0.2.1", user), new(errands))
		return rf
	}
	for i, row := range []struct {
		h    *Handler
		user string
		ok   bool
	}{
		{other, "alice", true}, {other, "alice", false}, {one, "alice", true}, {one, "alice", false},
		{one, "bob", true}, {other, "bob", false}, {other, "", true}, {other, "", true},
	} {
		if rf := take(row.h, row.user); (rf == nil) != row.ok {
			t.Errorf("number %d: %v", i, rf)
		}
	}
	var none admission.Limit
	if got := process.Seats.Admit(new(admission.Seat), "another name", other.caps, live.AddrOf("192.0.2.1"), "alice"); got != none {
		t.Errorf("another gateway: %s", got)
	}
}
