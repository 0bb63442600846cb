package wsgateway

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/dial"
	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
)

func TestProbesTakeOutAndLetInAfterSoManyInARow(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		passes, fails int
		results       string // + or -
		down          string // y or n after each
	}{
		"one of each":           {0, 0, "-+--+", "ynyyn"},
		"two failures":          {1, 2, "-+--+-", "nnnynn"},
		"three passes":          {3, 1, "-++-+++-", "yyyyyyny"},
		"unknown is as healthy": {1, 1, "+", "n"},
	} {
		active := &reverseproxy.ActiveHealthChecks{Passes: row.passes, Fails: row.fails}
		p := newProbes("gw", zap.NewNop(), new(WebSocketHealth), &reverseproxy.HealthChecks{Active: active})
		if p.down("a:1") {
			t.Errorf("%s: down before the first probe", name)
		}
		was := false
		for i := range row.results {
			changed := p.record("a:1", row.results[i] == '+')
			down := p.down("a:1")
			if down != (row.down[i] == 'y') || changed != (down != was) {
				t.Errorf("%s: after %s down is %t, changed %t", name, row.results[:i+1], down, changed)
			}
			was = down
		}
		if p.down("b:1") {
			t.Errorf("%s: another one is down too", name)
		}
	}
}

func TestStateOfUpstreamsThatAreGoneIsForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newProbes("gw", zap.NewNop(), new(WebSocketHealth), nil)
		for i := range 1000 {
			p.record(fmt.Sprintf("pod-%d:80", i), i%2 == 0)
			p.forget()
			elapse(time.Minute)
		}
		if n := len(p.states); n > 12 {
			t.Errorf("of 1000 that came and went, %d are remembered", n)
		}
		if !p.down("pod-999:80") {
			t.Error("one that was there a minute ago is forgotten")
		}
	})
}

func TestProbesGoByTheSettingsOfActiveChecks(t *testing.T) {
	t.Parallel()
	if p := newProbes("gw", zap.NewNop(), nil, &reverseproxy.HealthChecks{}); p.down("a:1") {
		t.Error("down although nobody probes")
	}
	p := newProbes("gw", zap.NewNop(), new(WebSocketHealth), nil)
	if p.uri != "/" || p.interval != 30*time.Second || p.timeout != 5*time.Second {
		t.Errorf("by default: %s every %s, for %s", p.uri, p.interval, p.timeout)
	}
	p = newProbes("gw", zap.NewNop(), &WebSocketHealth{URI: "/ws"}, &reverseproxy.HealthChecks{Active: &reverseproxy.ActiveHealthChecks{
		Interval: caddy.Duration(time.Minute), Timeout: caddy.Duration(time.Second),
	}})
	if p.uri != "/ws" || p.interval != time.Minute || p.timeout != time.Second {
		t.Errorf("as set: %s every %s, for %s", p.uri, p.interval, p.timeout)
	}
}

func TestProbeURIIsAPath(t *testing.T) {
	t.Parallel()
	for uri, ok := range map[string]bool{
		"": true, "/": true, "/health?deep=1": true, "/a%20b": true,
		"health": false, "?deep": false, "ws://a/b": false, "http://a/b": false, "//a/b": false, "/%zz": false, "/a b\n": false,
	} {
		if err := (&WebSocketHealth{URI: uri}).validate(); (err == nil) != ok {
			t.Errorf("%q: %v", uri, err)
		}
	}
}

// scripted is an upstream that gives fixed answers to the bytes it is sent.
type scripted struct {
	mu     sync.Mutex // guards what follows
	answer string
	heads  []string
	rest   []byte // what came behind the last handshake
}

// dial gives connections to the upstream.
func (s *scripted) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	go s.serve(far)
	return near, nil
}

func (s *scripted) serve(conn net.Conn) {
	defer conn.Close()
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		return
	}
	head := string(buf[:n])
	s.mu.Lock()
	s.heads = append(s.heads, head)
	answer := s.answer
	s.mu.Unlock()
	if answer == "" {
		_, _ = conn.Read(buf) // says nothing
		return
	}
	for line := range strings.Lines(head) {
		if key, ok := strings.CutPrefix(line, "Sec-WebSocket-Key: "); ok {
			answer = strings.ReplaceAll(answer, "{accept}", handshake.Accept(strings.TrimSpace(key)))
		}
	}
	if _, err := conn.Write([]byte(answer)); err != nil {
		return
	}
	n, _ = conn.Read(buf)
	s.mu.Lock()
	s.rest = append([]byte(nil), buf[:n]...)
	s.mu.Unlock()
}

const switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"

func TestProbeIsARealHandshake(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		answer  string
		healthy bool
	}{
		"it upgrades":              {switching, true},
		"a plain page":             {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false},
		"it refuses":               {"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", false},
		"a wrong accept":           {strings.ReplaceAll(switching, "{accept}", "wrong"), false},
		"a protocol not asked for": {strings.Replace(switching, "\r\n\r\n", "\r\nSec-WebSocket-Protocol: x\r\n\r\n", 1), false},
		"it says nothing":          {"", false},
		"no HTTP":                  {"hello\r\n\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				upstream := &scripted{answer: row.answer}
				h := load(t, "probe "+name, new(reverseproxy.LeastConnSelection), addressesOf(t, 1), func(h *Handler) {
					h.WebSocketHealth = &WebSocketHealth{URI: "/ws?probe"}
					h.Proxy.HealthChecks = &reverseproxy.HealthChecks{Active: &reverseproxy.ActiveHealthChecks{
						Timeout: caddy.Duration(2 * time.Second),
						Headers: http.Header{"host": {"health.example"}, "x-probe": {"yes"}},
					}}
				})
				defer unload(t, h)
				h.dialer = dial.New(&reverseproxy.HTTPTransport{Transport: &http.Transport{DialContext: upstream.dial}}, time.Minute, clientIP)
				start := time.Now()
				h.probes.probeAll(t.Context(), h.dialer.Shake, h.currentMembers())
				if took := time.Since(start); took > 2*time.Second {
					t.Errorf("took %s", took)
				}
				if down := len(h.balancer.Down(h.balancer.members)) == 1; down == row.healthy {
					t.Errorf("down is %t", down)
				}
				synctest.Wait()
				head := upstream.heads[0]
				for _, line := range []string{"GET /ws?probe HTTP/1.1\r\n", "\r\nHost: health.example\r\n", "\r\nX-Probe: yes\r\n", "\r\nUpgrade: websocket\r\n"} {
					if !strings.Contains(head, line) {
						t.Errorf("%q is not in the handshake %q", line, head)
					}
				}
				if row.healthy && (len(upstream.rest) < 8 || upstream.rest[0] != 0x88 || upstream.rest[1]&0x80 == 0) {
					t.Errorf("the upstream was left without a masked close frame: %x", upstream.rest)
				}
				upstream.mu.Lock()
				upstream.answer = switching
				upstream.mu.Unlock()
				h.probes.probeAll(t.Context(), h.dialer.Shake, h.currentMembers())
				if len(h.balancer.Down(h.balancer.members)) != 0 {
					t.Error("down although it is well again")
				}
			})
		})
	}
}

func TestProbeSaysWhatCaddysOwnChecksSay(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("open sesame"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PROBE_HOST", "from-env.example")
	const target = "{http.reverse_proxy.active.target_upstream}"
	for name, row := range map[string]struct {
		address string
		headers http.Header
		host    string
		want    http.Header
	}{
		"host and port":           {"a.example:80", nil, "a.example:80", nil},
		"unix socket":             {"unix//run/app.sock", nil, "localhost", nil},
		"unix, abstract":          {"unix/@app", nil, "localhost", nil},
		"inherited descriptor":    {"fd/3", nil, "localhost", nil},
		"Host of a unix socket":   {"unix//run/app.sock", http.Header{"Host": {"app.example"}}, "app.example", nil},
		"Host by a placeholder":   {"a.example:80", http.Header{"host": {"{env.PROBE_HOST}"}}, "from-env.example", nil},
		"Host that comes to none": {"a.example:80", http.Header{"Host": {"{env.NOT_SET_AT_ALL}"}}, "a.example:80", nil},
		"value from a file":       {"a.example:80", http.Header{"X-Key": {"{file." + secret + "}"}}, "a.example:80", http.Header{"X-Key": {"open sesame"}}},
		"name by a placeholder":   {"a.example:80", http.Header{"X-{env.PROBE_HOST}": {"1"}}, "a.example:80", http.Header{"X-From-Env.example": {"1"}}},
		"the upstream":            {"unix//run/app.sock", http.Header{"X-Target": {target}}, "localhost", http.Header{"X-Target": {"unix//run/app.sock"}}},
		"JSON is no placeholder":  {"a.example:80", http.Header{"X-Json": {`{"a":1}`}}, "a.example:80", http.Header{"X-Json": {`{"a":1}`}}},
		"two spellings":           {"a.example:80", http.Header{"X-A": {"1"}, "x-a": {"1"}}, "a.example:80", http.Header{"X-A": {"1", "1"}}},
		"its own agent":           {"a.example:80", http.Header{"user-agent": {"probe"}}, "a.example:80", http.Header{"User-Agent": {"probe"}}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProbes("gw", zap.NewNop(), new(WebSocketHealth), &reverseproxy.HealthChecks{Active: &reverseproxy.ActiveHealthChecks{Headers: row.headers}})
			info, err := dial.Info(nil, row.address)
			if err != nil {
				t.Fatal(err)
			}
			r, err := p.request(t.Context(), &info, row.address)
			if err != nil {
				t.Fatal(err)
			}
			if r.Host != row.host {
				t.Errorf("Host is %q, want %q", r.Host, row.host)
			}
			for name, want := range row.want {
				if got := r.Header[name]; !slices.Equal(got, want) {
					t.Errorf("%s is %q, want %q: %v", name, got, want, r.Header)
				}
			}
			if _, err := handshake.AppendHead(nil, r, "key"); err != nil {
				t.Errorf("it cannot be sent: %v", err)
			}
		})
	}
}
