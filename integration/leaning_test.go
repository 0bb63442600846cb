package integration

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// What the gateway leans on that Caddy has not promised, such as the keys by which
// its transports are told things. docs/leaning.md lists it, with the tests that tell
// when it has changed; here are those that are for nothing else.

func init() { caddy.RegisterModule(new(wrappedTransport)) }

// wrappedTransport is somebody else's transport, which has Caddy's do the work: the
// gateway does not know it, and leaves the whole handshake to it.
type wrappedTransport struct{ reverseproxy.HTTPTransport }

// CaddyModule returns the Caddy module information.
func (*wrappedTransport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport.integration_wrapped",
		New: func() caddy.Module { return new(wrappedTransport) },
	}
}

// RoundTrip implements http.RoundTripper.
func (w *wrappedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return w.HTTPTransport.RoundTrip(r)
}

// TestTransportIsToldWhereToDial needs the key of what is dialed: a URL has no
// place for a unix socket.
func TestTransportIsToldWhereToDial(t *testing.T) {
	b := newUnixBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr+" {\n transport integration_wrapped\n }")
	overWS.open(t, g, "/ws", nil).ping(t, "hello")
}

// TestTransportIsToldNotToOfferHTTP2 needs the key of that, for the upstream would
// take it. Caddy looks at it where the name of the server has a placeholder.
func TestTransportIsToldNotToOfferHTTP2(t *testing.T) {
	b := newTLSBackend(t, echo)
	b.tls.NextProtos = []string{"h2", "http/1.1"}
	g := start(t, "ws_gateway "+b.addr+" {\n transport integration_wrapped {\n tls_insecure_skip_verify\n tls_server_name {host}\n }\n }")
	overWS.open(t, g, "/ws", nil).ping(t, "hello")
}

// TestTransportIsToldTheClientForThePROXYProtocol needs the key of that.
func TestTransportIsToldTheClientForThePROXYProtocol(t *testing.T) {
	announced := make(chan string, 2)
	b := newBackend(t, echo)
	b.set(func() {
		b.onDial = func(conn net.Conn) bool {
			var line []byte
			for !strings.HasSuffix(string(line), "\r\n") {
				var next [1]byte
				if _, err := conn.Read(next[:]); err != nil {
					return false
				}
				line = append(line, next[0])
			}
			announced <- string(line)
			return true
		}
	})
	g := start(t, "ws_gateway "+b.addr+" {\n transport http {\n proxy_protocol v1\n }\n }")
	conn, err := net.Dial("tcp", g.httpAddr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(handshakeH1("/ws", g.httpAddr, nil))); err != nil {
		t.Fatal(err)
	}
	if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("answer %v, error %v", res, err)
	}
	host, _, _ := net.SplitHostPort(conn.LocalAddr().String())
	if line, want := receive(t, "line of the PROXY protocol", announced), "PROXY TCP4 "+host+" "; !strings.HasPrefix(line, want) {
		t.Errorf("the upstream was told %q, want it to begin with %q", line, want)
	}
}

// TestFailedLoadGivesBackOnlyWhatItTook of the upstreams that reverse_proxy keeps
// for the process: what they hold must stay known to the configuration that goes
// on.
func TestFailedLoadGivesBackOnlyWhatItTook(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr)
	for range 3 {
		if err := g.load("ws_gateway " + b.addr + " {\n trusted_proxies nonsense\n }"); err == nil {
			t.Fatal("a wrong configuration was loaded")
		}
	}
	if status, answer := g.adminDo(t, http.MethodGet, "/reverse_proxy/upstreams", "", ""); status != 200 || !strings.Contains(answer, b.addr) {
		t.Errorf("reverse_proxy's upstreams: status %d, %s", status, answer)
	}
}
