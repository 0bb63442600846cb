package dial

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// gated is an upstream for tests of the gate.
type gated struct {
	d        *Dialer
	info     reverseproxy.DialInfo
	accepted chan net.Conn // what speaks HTTP, as the upstream sees it
}

func (g gated) shake(ctx context.Context, ready func() error) error {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r = r.WithContext(context.WithValue(ctx, caddyhttp.VarsCtxKey, make(map[string]any)))
	a, err := g.d.Shake(r, &g.info, ready)
	if err == nil {
		_ = a.Conn.Close()
	}
	return err
}

// answer takes the handshake.
func (g gated) answer(t *testing.T) {
	conn := <-g.accepted
	defer conn.Close()
	head, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		t.Error(err)
		return
	}
	switchProtocols(conn, head, "")
}

// accept passes the connections of the listener on.
func (g gated) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		g.accepted <- conn
	}
}

// gates are the ways to an upstream.
var gates = map[string]func(t *testing.T) gated{
	"directly": func(t *testing.T) gated {
		return gatedAt(t, &reverseproxy.HTTPTransport{Transport: new(http.Transport), DialTimeout: caddy.Duration(time.Minute)}, false)
	},
	"by the net package": func(t *testing.T) gated {
		return gatedAt(t, &reverseproxy.HTTPTransport{Transport: netTransport()}, false)
	},
	"over TLS": func(t *testing.T) gated {
		return gatedAt(t, &reverseproxy.HTTPTransport{Transport: netTransport(), TLS: new(reverseproxy.TLSConfig)}, true)
	},
	"through a network proxy": func(t *testing.T) gated {
		g := gatedAt(t, nil, false)
		through := netTransport()
		through.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: g.info.Address}) // the upstream plays the proxy
		g.d = New(&reverseproxy.HTTPTransport{Transport: through}, time.Minute, noClient)
		return g
	},
}

func netTransport() *http.Transport {
	return &http.Transport{DialContext: new(net.Dialer).DialContext}
}

// gatedAt makes an upstream that the transport leads to.
func gatedAt(t *testing.T, transport *reverseproxy.HTTPTransport, overTLS bool) gated {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := gated{accepted: make(chan net.Conn, 16)}
	if g.info, err = Info(new(reverseproxy.Upstream), l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if overTLS {
		server := httptest.NewUnstartedServer(nil)
		server.StartTLS()
		server.Close()
		pool := x509.NewCertPool()
		pool.AddCert(server.Certificate())
		transport.Transport.TLSClientConfig = &tls.Config{RootCAs: pool, ServerName: "example.com"}
		l = tls.NewListener(l, server.TLS)
	}
	t.Cleanup(func() { _ = l.Close() })
	if transport != nil {
		g.d = New(transport, time.Minute, noClient)
	}
	go g.accept(handshaken{l})
	return g
}

// handshaken is a listener that makes the TLS handshakes of its connections.
type handshaken struct{ net.Listener }

func (l handshaken) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if c, ok := conn.(*tls.Conn); ok {
		_ = c.Handshake()
	}
	return conn, err
}

func TestUpstreamThatIsNotToBeAskedSeesAConnectionAndNoByteOfTheHandshake(t *testing.T) {
	t.Parallel()
	refused := errors.New("there is no room")
	for name, way := range gates {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := way(t)
			calls := 0
			err := g.shake(t.Context(), func() error { calls++; return refused })
			if err != refused || calls != 1 { //nolint:errorlint // it is to be returned as it is
				t.Errorf("%v after %d calls", err, calls)
			}
			conn := <-g.accepted
			defer conn.Close()
			if p, _ := io.ReadAll(conn); len(p) > 0 { // to its end, which has to come
				t.Errorf("the upstream read %q", p)
			}
		})
	}
}

func TestUpstreamIsConnectedWhileTheHandshakeWaitsAndAskedAfterIt(t *testing.T) {
	t.Parallel()
	for name, way := range gates {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := way(t)
			connected := make(chan net.Conn)
			done := make(chan error, 1)
			calls := 0
			go func() {
				done <- g.shake(t.Context(), func() error {
					calls++
					connected <- <-g.accepted // there is none before it is connected
					return nil
				})
			}()
			conn := <-connected
			g.accepted <- conn
			g.answer(t)
			if err := <-done; err != nil || calls != 1 {
				t.Errorf("%v after %d calls", err, calls)
			}
		})
	}
}

func TestClientThatLeavesWhileTheHandshakeWaitsClosesTheConnection(t *testing.T) {
	t.Parallel()
	for name, way := range gates {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := way(t)
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			err := g.shake(ctx, func() error {
				leave()
				<-ctx.Done()
				return ctx.Err()
			})
			if err != context.Canceled { //nolint:errorlint // it is to be returned as it is
				t.Errorf("got %v", err)
			}
			conn := <-g.accepted
			defer conn.Close()
			if p, _ := io.ReadAll(conn); len(p) > 0 {
				t.Errorf("the upstream read %q", p)
			}
		})
	}
}

func TestGateThatPanicsClosesTheConnection(t *testing.T) {
	t.Parallel()
	for name, way := range gates {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := way(t)
			func() {
				defer func() {
					if recover() == nil {
						t.Error("the panic was swallowed")
					}
				}()
				_ = g.shake(t.Context(), func() error { panic("a gate") })
			}()
			conn := <-g.accepted
			defer conn.Close()
			if p, _ := io.ReadAll(conn); len(p) > 0 {
				t.Errorf("the upstream read %q", p)
			}
		})
	}
}

func TestGateOfAnUpstreamThatCannotBeReachedIsNotAsked(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"directly", "by the net package", "over TLS", "through a network proxy"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			g := gates[way](t)
			unreachable := errors.New("unreachable")
			fail := func(context.Context, string, string) (net.Conn, error) { return nil, unreachable }
			g.d.http.Transport.DialContext, g.d.bare = fail, false
			if g.d.oneShot != nil {
				g.d.oneShot.DialContext = fail
			}
			if err := g.shake(t.Context(), func() error { t.Error("it was asked"); return nil }); !errors.Is(err, unreachable) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestGateOfATransportOfAnotherModuleComesBeforeTheTransport(t *testing.T) {
	t.Parallel()
	refused := errors.New("there is no room")
	f := &foreign{panics: true} // when it is asked
	d := New(f, time.Minute, noClient)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, make(map[string]any)))
	info, err := Info(nil, "192.0.2.1:80")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Shake(r, &info, func() error { return refused }); err != refused { //nolint:errorlint // as it is
		t.Errorf("got %v", err)
	}
}
