package wsgateway

import (
	"bufio"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

func TestPlainSwitchingIsParsedHere(t *testing.T) {
	t.Parallel()
	res := parseSwitching("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nconnection:\tUpgrade \r\n"+
		"Sec-WebSocket-Accept: abc=\r\nSec-WebSocket-Protocol: chat\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Empty:\r\n", nil)
	if res == nil {
		t.Fatal("left to net/http")
	}
	want := http.Header{
		"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Accept": {"abc="},
		"Sec-Websocket-Protocol": {"chat"}, "Set-Cookie": {"a=1", "b=2"}, "X-Empty": {""},
	}
	if !maps.EqualFunc(res.Header, want, slices.Equal) {
		t.Errorf("got %v", res.Header)
	}
	res.Header.Add("Upgrade", "more")
	if got := res.Header.Get("Connection"); got != "Upgrade" {
		t.Errorf("fields share their memory: Connection is now %q", got)
	}
}

func TestOtherAnswersAreLeftToNetHTTP(t *testing.T) {
	t.Parallel()
	for _, head := range []string{
		"HTTP/1.1 200 OK\r\n",
		"HTTP/1.0 101 Switching Protocols\r\n",
		"HTTP/1.1 1010 Switching Protocols\r\n",
		"HTTP/1.1 101\r\n",
		"HTTP/1.1 101 OK\r\nA: b\nC: d\r\n",
		"HTTP/1.1 101 OK\r\nA: b\r\n more\r\n",
		"HTTP/1.1 101 OK\r\nA : b\r\n",
		"HTTP/1.1 101 OK\r\nA\r\n",
		"HTTP/1.1 101 OK\r\nA: \x00\r\n",
		"HTTP/1.1 101 OK\r\nContent-Length: 5\r\n",
		"HTTP/1.1 101 OK\r\nConnection: Upgrade, close\r\n",
		"HTTP/1.1 101 OK\r\ntransfer-encoding: chunked\r\n",
	} {
		if res := parseSwitching(head, nil); res != nil {
			t.Errorf("%q was taken for %v", head, res)
		}
	}
}

func FuzzSwitching(f *testing.F) {
	f.Add("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x=\r\n")
	f.Add("HTTP/1.1 101  \r\nA:b\r\na: c\r\n")
	f.Add("HTTP/1.1 101 OK\r\nPragma: no-cache\r\nConnection: close\r\n")
	f.Fuzz(func(t *testing.T, head string) {
		if strings.Contains(head, "\r\n\r\n") || !strings.HasSuffix(head, "\r\n") {
			return // it is never asked
		}
		got := parseSwitching(head, nil)
		if got == nil {
			return
		}
		br := bufio.NewReader(strings.NewReader(head + "\r\nrest"))
		want, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatalf("net/http says %v of %q", err, head)
		}
		_ = want.Body.Close()
		if got.Status != want.Status || got.StatusCode != want.StatusCode || !maps.EqualFunc(got.Header, want.Header, slices.Equal) {
			t.Fatalf("%q is %q %v here and %q %v there", head, got.Status, got.Header, want.Status, want.Header)
		}
		if rest, _ := io.ReadAll(br); string(rest) != "rest" {
			t.Fatalf("net/http ends the head of %q before %q", head, rest)
		}
	})
}

func TestOnlyBareTCPIsDialedDirectly(t *testing.T) {
	t.Parallel()
	at := func(address string) reverseproxy.DialInfo {
		info, err := dialInfo(new(reverseproxy.Upstream), address)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	for name, row := range map[string]struct {
		info reverseproxy.DialInfo
		set  func(*reverseproxy.HTTPTransport)
		want bool
	}{
		"IPv4":            {info: at("192.0.2.1:80"), want: true},
		"IPv6":            {info: at("[2001:db8::1]:80"), want: true},
		"a name":          {info: at("localhost:80")},
		"a Unix socket":   {info: at("unix//run/app.sock")},
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
			addr, got := newDialer(transport, time.Minute).directly(r, &row.info)
			if got != row.want || got && addr.String() != row.info.Address {
				t.Errorf("got %t, %v", got, addr)
			}
		})
	}
}

func TestDirectConnectionsSuitTheLoop(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
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
		head, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		switchProtocols(conn, head, "\x81\x02hi")
	}()
	transport := &reverseproxy.HTTPTransport{Transport: new(http.Transport), DialTimeout: caddy.Duration(time.Second)}
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	addr := netip.MustParseAddrPort(l.Addr().String())
	a, err := newDialer(transport, time.Minute).shakeDirectly(r, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer a.conn.Close()
	if _, ok := a.conn.(relay.Socket); !ok && runtime.GOOS == "linux" {
		t.Errorf("the relay will not know %T for a socket", a.conn)
	}
	rest, _ := io.ReadAll(a.conn)
	if got := string(a.early) + string(rest); got != "\x81\x02hi" {
		t.Errorf("got %q", got)
	}
}
