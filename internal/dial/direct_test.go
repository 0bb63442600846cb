package dial

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/tcpdial"
)

func TestOnlyBareTCPIsDialedDirectly(t *testing.T) {
	t.Parallel()
	at := func(address string) reverseproxy.DialInfo {
		info, err := Info(new(reverseproxy.Upstream), address)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	for name, row := range map[string]struct {
		info reverseproxy.DialInfo
		set  func(*reverseproxy.HTTPTransport)
		want bool
	}{
		"IPv4":         {info: at("192.0.2.1:80"), want: true},
		"IPv6":         {info: at("[2001:db8::1]:80"), want: true},
		"localhost":    {info: at("localhost:80"), want: true},
		"another name": {info: at("localhost.example:80")},
		"a resolver": {info: at("localhost:80"), set: func(t *reverseproxy.HTTPTransport) {
			t.Resolver = new(reverseproxy.UpstreamResolver)
		}},
		"a Unix socket":   {info: at("unix//run/app.sock"), want: true},
		"an abstract one": {info: at("unix/@app"), want: true},
		"datagrams":       {info: at("unixgram//run/app.sock")},
		"TLS":             {info: at("192.0.2.1:443"), set: func(t *reverseproxy.HTTPTransport) { t.TLS = new(reverseproxy.TLSConfig) }},
		"a port except":   {info: at("192.0.2.1:80"), set: func(t *reverseproxy.HTTPTransport) { t.TLS = &reverseproxy.TLSConfig{ExceptPorts: []string{"80"}} }, want: true},
		"PROXY protocol":  {info: at("192.0.2.1:80"), set: func(t *reverseproxy.HTTPTransport) { t.ProxyProtocol = "v2" }},
		"a local address": {info: at("192.0.2.1:80"), set: func(t *reverseproxy.HTTPTransport) { t.LocalAddress = "192.0.2.9" }},
		"a read timeout":  {info: at("192.0.2.1:80"), set: func(t *reverseproxy.HTTPTransport) { t.ReadTimeout = 1 }, want: true},
		"a write timeout": {info: at("192.0.2.1:80"), set: func(t *reverseproxy.HTTPTransport) { t.WriteTimeout = 1 }, want: true},
		"Caddy's keep-alive": {info: at("192.0.2.1:80"), set: func(t *reverseproxy.HTTPTransport) {
			t.KeepAlive = &reverseproxy.KeepAlive{ProbeInterval: caddy.Duration(30 * time.Second)}
		}, want: true},
		"its own keep-alive": {info: at("192.0.2.1:80"), set: func(t *reverseproxy.HTTPTransport) {
			t.KeepAlive = &reverseproxy.KeepAlive{ProbeInterval: caddy.Duration(5 * time.Second)}
		}},
		"not Caddy's dialer": {info: at("192.0.2.1:80"), set: func(t *reverseproxy.HTTPTransport) { t.DialTimeout = 0 }},
		"a network proxy": {info: at("192.0.2.1:80"), set: func(t *reverseproxy.HTTPTransport) {
			t.Transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: "192.0.2.3:3128"})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			transport := &reverseproxy.HTTPTransport{Transport: new(http.Transport), DialTimeout: caddy.Duration(time.Second)}
			if row.set != nil {
				row.set(transport)
			}
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "/chat?room=1", nil)
			d := New(transport, time.Minute, noClient)
			d.localhost = &localhost{lookUp: func(context.Context, string, string) ([]netip.Addr, error) {
				return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
			}}
			to, got := d.directly(r, &row.info)
			if sent := r.URL.String(); sent != "/chat?room=1" {
				t.Errorf("the request is for %s now", sent)
			}
			want := strings.Replace(row.info.Address, "localhost", "127.0.0.1", 1)
			if got != row.want || got && to.Unix != want && to.TCP.String() != want {
				t.Errorf("got %t, %v", got, to)
			}
		})
	}
}

// TestDirectConnectionsSuitTheLoop, and what comes behind the answer is not lost.
func TestDirectConnectionsSuitTheLoop(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ network, at string }{
		"TCP":              {"tcp", "127.0.0.1:0"},
		"a unix socket":    {"unix", filepath.Join(t.TempDir(), "s")},
		"an abstract name": {"unix", "@ws-gateway-" + rand.Text()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.HasPrefix(row.at, "@") && runtime.GOOS != "linux" {
				t.Skip("only Linux has abstract names")
			}
			l, err := net.Listen(row.network, row.at)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				if head, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					switchProtocols(conn, head, "\x81\x02hi")
				}
			}()
			transport := &reverseproxy.HTTPTransport{Transport: new(http.Transport), DialTimeout: caddy.Duration(time.Second)}
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			info, err := Info(new(reverseproxy.Upstream), row.network+"/"+l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			a, err := New(transport, time.Minute, noClient).Shake(r, &info, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Conn.Close()
			if _, ok := a.Conn.(relay.Socket); !ok && runtime.GOOS == "linux" {
				t.Errorf("the relay will not know %T for a socket", a.Conn)
			}
			if _, ok := a.Conn.(tcpdial.Loose); !ok && runtime.GOOS == "linux" {
				t.Errorf("it was dialed another way: %T", a.Conn)
			}
			rest, _ := io.ReadAll(a.Conn)
			if got := string(a.Early) + string(rest); got != "\x81\x02hi" {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestUnixSocketThatNobodyListensAtIsDead(t *testing.T) {
	t.Parallel()
	transport := &reverseproxy.HTTPTransport{Transport: new(http.Transport), DialTimeout: caddy.Duration(time.Second)}
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	info, err := Info(new(reverseproxy.Upstream), "unix/"+filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	if a, err := New(transport, time.Minute, noClient).Shake(r, &info, nil); !errors.Is(err, handshake.ErrDead) {
		t.Errorf("got %v, %v", a, err)
	}
}
