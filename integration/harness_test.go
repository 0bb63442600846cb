package integration

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// patience is how long a test waits for what must happen. It is far more than
// a healthy run needs, so that a busy machine does not fail it.
const patience = time.Minute

// gateway is the running Caddy.
type gateway struct {
	httpAddr  string // plain HTTP
	httpsAddr string // TLS: HTTP/1.1 and HTTP/2 over TCP, HTTP/3 over UDP
	socket    string // the admin endpoint
	options   string // further global options
	sites     string // further sites
	tls       string // the tls directive
	storage   string // the directory of Caddy's storage
}

// start runs Caddy with the site on a plain and on a TLS port. It stops with
// the test, after the clients that were opened later than it.
func start(t *testing.T, site string) *gateway {
	t.Helper()
	return startWith(t, "", site)
}

// startWith is start with further global options.
func startWith(t *testing.T, options, site string) *gateway {
	t.Helper()
	g := newGateway(t, options)
	g.run(t, site)
	return g
}

// run loads the site and stops Caddy with the test.
func (g *gateway) run(t *testing.T, site string) {
	t.Helper()
	book.turn()
	t.Cleanup(func() {
		if t.Failed() {
			book.dump(t)
		}
	})
	if err := g.load(site); err != nil {
		t.Fatalf("loading the configuration: %v\n%s", err, g.caddyfile(site, bookOutput))
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping caddy: %v", err)
		}
	})
	g.waitForTLS(t)
}

func newGateway(t *testing.T, options string) *gateway {
	t.Helper()
	dir, err := os.MkdirTemp(workDir, "")
	if err != nil {
		t.Fatal(err)
	}
	return &gateway{
		httpAddr:  freePort(t),
		httpsAddr: freePort(t),
		socket:    filepath.Join(dir, "admin"),
		options:   options,
		tls:       tlsDirective(),
		storage:   filepath.Join(workDir, "storage"),
	}
}

const bookOutput = "output integration_book\n\t\tformat json"

// caddyfile is the whole configuration around a site.
func (g *gateway) caddyfile(site, log string) string {
	_, httpPort, _ := net.SplitHostPort(g.httpAddr)
	_, httpsPort, _ := net.SplitHostPort(g.httpsAddr)
	return fmt.Sprintf(`{
	admin unix/%s
	persist_config off
	storage file_system %s
	auto_https disable_redirects
	skip_install_trust
	default_bind 127.0.0.1
	log default {
		%s
	}
	%s
}
http://:%s {
	log
	%s
}
https://localhost:%s {
	%s
	log
	%s
}
%s
`, g.socket, g.storage, log, g.options, httpPort, site, httpsPort, g.tls, site, g.sites)
}

// adapt turns the Caddyfile around a site into JSON.
func (g *gateway) adapt(site string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(g.caddyfile(site, bookOutput)), nil)
	if err != nil || admitted == nil {
		return config, err
	}
	return admitted(config)
}

// admitted changes a configuration so that nobody is served before all of it has started,
// where that is needed.
var admitted func(config []byte) ([]byte, error)

// reload changes the running site, for all who come from now on.
func (g *gateway) reload(t *testing.T, site string) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- g.load(site) }()
	if err := receive(t, "the reload", done); err != nil {
		t.Fatalf("reloading: %v", err)
	}
}

// waitForTLS waits for the site's certificate, which Caddy may have to make.
func (g *gateway) waitForTLS(t *testing.T) {
	t.Helper()
	eventually(t, "certificate", func() bool {
		conn, err := tls.Dial("tcp", g.httpsAddr, clientTLS("http/1.1"))
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	})
}

// adminDo sends a request to the admin endpoint. A load replaces the endpoint,
// and may break off what has just come to the old one, so GET is tried again.
func (g *gateway) adminDo(t *testing.T, method, path, contentType, body string) (status int, answer string) {
	t.Helper()
	client := http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", g.socket)
			},
		},
	}
	ctx := context.WithoutCancel(t.Context()) // what was set may be taken back when the test is over
	req, err := http.NewRequestWithContext(ctx, method, "http://admin"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	var res *http.Response
	poll(patience, func() bool {
		res, err = client.Do(req)
		return err == nil || method != http.MethodGet
	})
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	read, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return res.StatusCode, string(read)
}

// get sends a plain request over HTTP/1.1.
func (g *gateway) get(t *testing.T, path string, header http.Header) answer {
	t.Helper()
	return g.send(t, http.MethodGet, path, header, "")
}

func (g *gateway) send(t *testing.T, method, path string, header http.Header, body string) answer {
	t.Helper()
	return g.sendTo(t, "", method, path, header, body)
}

// sendTo sends a request for another host than the gateway's address.
func (g *gateway) sendTo(t *testing.T, host, method, path string, header http.Header, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+g.httpAddr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	maps.Copy(req.Header, header)
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	read, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{status: res.StatusCode, header: res.Header, body: string(read)}
}

// nextPort is below the ports that the system gives to outgoing connections, so
// that none of those is in the way, and never the same twice.
var (
	ports    sync.Mutex
	nextPort = 20000 + rand.IntN(8000)
)

// freePort finds an address on loopback that is free for both TCP and UDP.
func freePort(t testing.TB) string {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for range 2000 {
		nextPort++
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(nextPort))
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		packets, err := net.ListenPacket("udp", addr)
		_ = ln.Close()
		if err == nil {
			_ = packets.Close()
			return addr
		}
	}
	t.Fatal("no port is free for both TCP and UDP")
	return ""
}

// long is for tests that take seconds: they are not among the short ones.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes seconds")
	}
}

// eventually fails the test if done does not come true in time.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	if !poll(patience, done) {
		t.Fatalf("waited %v in vain for: %s", patience, what)
	}
}

// receive takes a value from ch, or fails the test if none comes in time.
func receive[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case v := <-ch:
		return v
	case <-late.C:
		t.Fatalf("waited %v in vain for: %s", patience, what)
		panic("unreachable")
	}
}
