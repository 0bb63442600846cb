package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const secret = "a secret of 32 bytes for a bench" //nolint:gosec // of a measurement

// proxy is one way to pass streams on: what stands in the site.
type proxy struct {
	name, site string
	counts     bool // streams, as live connections
}

const auth = "auth {\n jwt {\n key \"" + secret + "\"\n }\n }\n"

// proxies are those that are compared. Each has what the one before it has, and more.
var proxies = []proxy{
	{name: "reverse_proxy", site: "reverse_proxy %s {\n flush_interval -1\n lb_policy least_conn\n }"},
	{name: "ws_gateway", site: "ws_gateway %s"},
	{name: "ws_gateway, auth", site: "ws_gateway %s {\n " + auth + "}"},
	gatewayWithStreams,
}

var gatewayWithStreams = proxy{
	name: "ws_gateway, auth, streams", counts: true,
	site: "ws_gateway %s {\n streams\n " + auth + `
		idle_timeout 1h
		max_age 8h
		max_conns 1000000
		drain_period {period}
		limit {
			connections 1000000
			connections_per_ip 1000000
			connections_per_user 1000000
			handshakes_per_ip 1000000/1s
		}
	}`,
}

// token is one for the user, good for an hour.
func token(user string) string {
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." +
		encode(fmt.Appendf(nil, `{"sub":%q,"exp":%d,"jti":"1"}`, user, time.Now().Add(time.Hour).Unix()))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return text + "." + encode(mac.Sum(nil))
}

// process is a Caddy that runs a proxy.
type process struct {
	cmd            *exec.Cmd
	address, admin string
}

func (b *bench) start(ctx context.Context, p proxy) (*process, error) {
	g := new(process)
	for _, address := range []*string{&g.address, &g.admin} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		*address = ln.Addr().String()
		_ = ln.Close()
	}
	var upstreams []string
	for _, u := range b.upstreams {
		upstreams = append(upstreams, u.address())
	}
	site := fmt.Sprintf(strings.ReplaceAll(p.site, "{period}", b.period.String()), strings.Join(upstreams, " "))
	config := fmt.Sprintf("{\n admin %s\n persist_config off\n auto_https off\n storage file_system %s\n log {\n level ERROR\n }\n servers {\n protocols h1 h2c\n }\n}\n"+
		"http://%s {\n %s\n}\n", g.admin, b.dir, g.address, site)
	file := filepath.Join(b.dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	g.cmd = exec.CommandContext(ctx, b.binary, "run", "--config", file, "--adapter", "caddyfile") //nolint:gosec // which was built
	g.cmd.Stderr = os.Stderr
	if b.profiles != "" { // every allocation is in them; CPU is no figure then
		g.cmd.Env = append(os.Environ(), "GODEBUG=memprofilerate=1")
	}
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	err := within(time.Minute, "the proxy listens", func() (bool, error) {
		conn, err := net.Dial("tcp", g.address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil, nil
	})
	if err != nil {
		g.stop()
		return nil, err
	}
	return g, nil
}

func (g *process) stop() {
	_ = g.cmd.Process.Signal(syscall.SIGKILL)
	_ = g.cmd.Wait()
}

var adminClient = http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}

func (g *process) get(path string) (string, error) {
	return said(adminClient.Get("http://" + g.admin + path)) //nolint:noctx // it ends with the proxy
}

func (g *process) post(path, body string) (string, error) {
	return said(adminClient.Post("http://"+g.admin+path, "application/json", strings.NewReader(body))) //nolint:noctx // as above
}

func said(res *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %.200s", res.Status, body)
	}
	return string(body), err
}

// metrics are the sums of all series of each metric.
type metrics map[string]float64

func (g *process) metrics() (metrics, error) {
	text, err := g.get("/metrics")
	if err != nil {
		return nil, err
	}
	m := make(metrics)
	for line := range strings.Lines(text) {
		end, last := strings.IndexAny(line, "{ "), strings.LastIndexByte(line, ' ')
		if end <= 0 || line[0] == '#' {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(line[last:]), 64)
		if err != nil {
			return nil, err
		}
		m[line[:end]] += value
	}
	if m["process_resident_memory_bytes"] == 0 {
		return nil, errors.New("the proxy does not know its own memory: this needs Linux")
	}
	return m, nil
}

// counting is what counts as live: connections, and streams apart.
func (m metrics) counting() float64 {
	return m["caddy_ws_gateway_connections"] + m["caddy_ws_gateway_streams"]
}

// atRest are the metrics after a collection.
func (g *process) atRest() (metrics, error) {
	for range 2 { // pools are emptied by the second collection
		if _, err := g.get("/debug/pprof/heap?gc=1"); err != nil {
			return nil, err
		}
	}
	return g.metrics()
}
