package wsgateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/carrier"
	"github.com/wsgateway/caddy-ws-gateway/internal/dial"
	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

// conduct is what an upstream does with a handshake that it was sent.
func conduct(conn net.Conn, way string) {
	defer conn.Close()
	head, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	switch way {
	case "drops":
		return
	case "breaks off":
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgr")
		return
	case "upgrades":
		switchProtocols(conn, head, "")
	case "forbids":
		_, _ = io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
	case "talks rubbish":
		_, _ = io.WriteString(conn, "SSH-2.0-OpenSSH_9.2\r\n\r\n")
	case "is silent":
	}
	_, _ = conn.Read(make([]byte, 1))
}

func switchProtocols(conn net.Conn, head *http.Request, more string) {
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: "+handshake.Accept(head.Header.Get("Sec-WebSocket-Key"))+"\r\n\r\n"+more)
}

// conducting makes the gateway's upstreams behave as listed, each one way at
// each try, the last one for good. "refuses" takes no connection.
func conducting(h *Handler, ways [][]string) (tried func() []string) {
	var mu sync.Mutex
	var order []string
	count := make(map[string]int)
	h.dialer = dial.New(&reverseproxy.HTTPTransport{Transport: &http.Transport{
		DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
			i := slices.IndexFunc(h.Proxy.Upstreams, func(up *reverseproxy.Upstream) bool { return up.Dial == address })
			mu.Lock()
			way := ways[i][min(count[address], len(ways[i])-1)]
			count[address]++
			order = append(order, fmt.Sprintf("%c", 'a'+i))
			mu.Unlock()
			if way == "refuses" {
				return nil, reverseproxy.DialError{}
			}
			near, far := net.Pipe()
			go conduct(far, way)
			return near, nil
		},
	}}, time.Second, clientIP)
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return order
	}
}

// marks are the failures of an upstream, and 1 if it is out for them.
type marks struct{ failed, down int }

// expectMarks of upstreams, by their letters; those that are not named have none.
func expectMarks(t *testing.T, h *Handler, addresses []string, counted map[string]marks) {
	t.Helper()
	out := h.balancer.Down(h.balancer.members)
	for i, address := range addresses {
		got := marks{failed: int(failures(h.name, address))}
		if slices.Contains(out, address) {
			got.down = 1
		}
		if want := counted[fmt.Sprintf("%c", 'a'+i)]; got != want {
			t.Errorf("upstream %c: %+v, want %+v", 'a'+i, got, want)
		}
	}
}

// TestOnlyWhatIsTheUpstreamsFaultCountsAgainstIt: a failure counts if the connect
// failed, or if another upstream then answered the same handshake.
func TestOnlyWhatIsTheUpstreamsFaultCountsAgainstIt(t *testing.T) {
	t.Parallel()
	const failed, down = 1, 1
	for name, row := range map[string]struct {
		ways    [][]string
		set     func(*Handler)
		status  int // 101 for an upgrade
		tried   string
		counted map[string]marks
	}{
		"one refuses":                   {ways: [][]string{{"refuses"}, {"upgrades"}}, status: 101, tried: "ab", counted: map[string]marks{"a": {failed, down}}},
		"all refuse":                    {ways: [][]string{{"refuses"}, {"refuses"}}, status: 503, tried: "ab", counted: map[string]marks{"a": {failed, down}, "b": {failed, down}}},
		"the only one drops":            {ways: [][]string{{"drops"}}, status: 503, tried: "a"},
		"the only one breaks off":       {ways: [][]string{{"breaks off"}}, status: 503, tried: "a"},
		"one drops, another upgrades":   {ways: [][]string{{"drops"}, {"upgrades"}}, status: 101, tried: "ab", counted: map[string]marks{"a": {failed, down}}},
		"one drops, another forbids":    {ways: [][]string{{"breaks off"}, {"forbids"}}, status: 403, tried: "ab", counted: map[string]marks{"a": {failed, down}}},
		"two drop":                      {ways: [][]string{{"drops"}, {"breaks off"}, {"upgrades"}}, status: 502, tried: "ab"},
		"one drops, another is silent":  {ways: [][]string{{"drops"}, {"is silent"}}, status: 504, tried: "ab", counted: map[string]marks{"b": {failed: failed}}},
		"one drops, another is wrong":   {ways: [][]string{{"drops"}, {"talks rubbish"}}, status: 502, tried: "ab", counted: map[string]marks{"b": {failed: failed}}},
		"one drops, another refuses":    {ways: [][]string{{"drops"}, {"refuses"}}, status: 503, tried: "ab", counted: map[string]marks{"b": {failed, down}}},
		"one refuses, two drop":         {ways: [][]string{{"refuses"}, {"drops"}, {"drops"}, {"upgrades"}}, status: 502, tried: "abc", counted: map[string]marks{"a": {failed, down}}},
		"a drop, a refusal, an upgrade": {ways: [][]string{{"drops"}, {"refuses"}, {"upgrades"}}, status: 101, tried: "abc", counted: map[string]marks{"a": {failed, down}, "b": {failed, down}}},
		"silent":                        {ways: [][]string{{"is silent"}, {"upgrades"}}, status: 504, tried: "a", counted: map[string]marks{"a": {failed: failed}}},
		"wrong":                         {ways: [][]string{{"talks rubbish"}, {"upgrades"}}, status: 502, tried: "a", counted: map[string]marks{"a": {failed: failed}}},
		"silent for longer than unhealthy_latency": {
			ways: [][]string{{"is silent"}}, set: unhealthyLatency(time.Second), status: 504, tried: "a", counted: map[string]marks{"a": {failed, down}},
		},
		"silent for less than unhealthy_latency": {
			ways: [][]string{{"is silent"}}, set: unhealthyLatency(time.Minute), status: 504, tried: "a", counted: map[string]marks{"a": {failed: failed}},
		},
		"a second round": {
			ways: [][]string{{"drops"}, {"refuses"}, {"upgrades"}}, set: retrying(0, time.Minute), status: 101, tried: "abc",
			counted: map[string]marks{"a": {failed, down}, "b": {failed, down}},
		},
		"the only one drops twice":               {ways: [][]string{{"drops", "drops", "upgrades"}}, set: retrying(0, time.Minute), status: 502, tried: "aa"},
		"the only one drops twice, with retries": {ways: [][]string{{"drops", "drops", "upgrades"}}, set: retrying(9, 0), status: 502, tried: "aa"},
		"the only one drops once":                {ways: [][]string{{"drops", "upgrades"}}, set: retrying(0, time.Minute), status: 101, tried: "aa"},
		"no retry is left":                       {ways: [][]string{{"drops"}, {"drops"}, {"upgrades"}}, set: retrying(1, 0), status: 502, tried: "ab"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				addresses := addressesOf(t, len(row.ways))
				h := load(t, "fault "+name, new(reverseproxy.FirstSelection), addresses, func(h *Handler) {
					failing(0, 0, time.Hour)(h)
					h.Proxy.HealthChecks.Passive.MaxFails = 1
					if row.set != nil {
						row.set(h)
					}
				})
				defer unload(t, h)
				tried := conducting(h, row.ways)
				if status := shakeThrough(t, h); status != row.status {
					t.Errorf("answered %d, want %d", status, row.status)
				}
				if order := strings.Join(tried(), ""); order != row.tried {
					t.Errorf("tried %s, want %s", order, row.tried)
				}
				expectMarks(t, h, addresses, row.counted)
				if held := heldAt(addresses); held != 0 {
					t.Errorf("%d places are still held", held)
				}
			})
		})
	}
}

// shakeThrough makes a handshake as far as the client's upgrade, and tells the
// status that the client would get.
func shakeThrough(t *testing.T, h *Handler) int {
	t.Helper()
	r := requestWith(nil)
	r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, make(map[string]any)))
	got, rf := h.connect(new(balance.Lease), httptest.NewRecorder(), r, carrier.Placed{}, new(errands))
	if rf != nil {
		return rf.status
	}
	defer got.lease.Release()
	if got.answer.Conn != nil {
		_ = got.answer.Conn.Close()
	} else {
		_ = got.answer.Res.Body.Close()
	}
	return got.answer.Res.StatusCode
}

func failures(gateway, upstream string) uint64 { return shownUpstream(gateway, upstream).Failed }

// shownUpstream is what is shown of a gateway's upstream.
func shownUpstream(gateway, upstream string) live.UpstreamView {
	for _, g := range process.View() {
		if g.Name != gateway {
			continue
		}
		for _, up := range g.Upstreams {
			if up.Address == upstream {
				return up
			}
		}
	}
	return live.UpstreamView{}
}

func heldAt(addresses []string) (n int) {
	for _, address := range addresses {
		n += process.Ledger.Look(address).Live
	}
	return n
}

func unhealthyLatency(d time.Duration) func(*Handler) {
	return func(h *Handler) { h.Proxy.HealthChecks.Passive.UnhealthyLatency = caddy.Duration(d) }
}

func retrying(retries int, d time.Duration) func(*Handler) {
	return func(h *Handler) {
		h.Proxy.LoadBalancing = &reverseproxy.LoadBalancing{
			Retries: retries, TryDuration: caddy.Duration(d), TryInterval: caddy.Duration(time.Second),
		}
	}
}
