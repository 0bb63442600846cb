package main

import (
	"bufio"
	"bytes"
	"context"
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

	"github.com/wsgateway/caddy-ws-gateway/bench/caddy"
)

// gateway is cmd/caddy in a process of its own.
type gateway struct {
	ctx               context.Context
	cmd               *exec.Cmd
	admin, plain, tls string // addresses
	dir               string
	conns             int
	upstreams         []string
	config            config
}

// config is what reloads change.
type config struct {
	route, limits int
	added         bool // the last upstream is there
}

func startGateway(ctx context.Context, dir string, conns int, upstreams []string) (*gateway, error) {
	g := &gateway{ctx: ctx, dir: dir, conns: conns, upstreams: upstreams}
	for _, address := range []*string{&g.admin, &g.plain, &g.tls} {
		var err error
		if *address, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	if err := writeCertificate(dir); err != nil {
		return nil, fmt.Errorf("making a certificate: %w", err)
	}
	binary := filepath.Join(dir, "caddy")
	if err := caddy.Build(ctx, binary); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(g.caddyfile()), 0o600); err != nil {
		return nil, err
	}
	g.cmd = exec.CommandContext(ctx, binary, "run", "--config", file, "--adapter", "caddyfile") //nolint:gosec // built above
	g.cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	g.cmd.Stderr = os.Stderr
	if err := g.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the gateway: %w", err)
	}
	if err := g.await(); err != nil {
		g.stop()
		return nil, err
	}
	return g, nil
}

// await returns as soon as the sites are served.
func (g *gateway) await() error {
	deadline := time.Now().Add(patience)
	for {
		conn, err := net.Dial("tcp", g.tls)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waiting for the gateway: %w", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (g *gateway) caddyfile() string {
	upstreams := g.upstreams
	if !g.config.added {
		upstreams = upstreams[:len(upstreams)-1]
	}
	site := fmt.Sprintf(`respond /version %d
	ws_gateway /ws %s {
		max_conns %d
		write_timeout %ds
		drain_period 1s
	}`, g.config.route, strings.Join(upstreams, " "), g.conns+g.config.limits, 30+g.config.limits)
	return fmt.Sprintf(`{
	admin %s
	persist_config off
	auto_https disable_redirects
	skip_install_trust
	default_bind 127.0.0.1
	storage file_system %s
	log default {
		level ERROR
	}
}
http://:%s {
	%s
}
https://localhost:%s {
	tls %s %s
	%s
}
`, g.admin, g.dir, portOf(g.plain), site, portOf(g.tls), filepath.Join(g.dir, certFile), filepath.Join(g.dir, keyFile), site)
}

// load reloads the gateway and tells how long that took.
func (g *gateway) load() (time.Duration, error) {
	start := time.Now()
	_, err := g.do(http.MethodPost, "/load", g.caddyfile())
	return time.Since(start), err
}

func (g *gateway) do(method, path, body string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(g.ctx, patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+g.admin+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "text/caddyfile")
	r.Close = true
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, path, res.Status, answer)
	}
	return answer, err
}

// footprint is what the gateway takes.
type footprint struct {
	goroutines  int
	heap        int // live, in bytes
	resident    int // in bytes; 0 where that cannot be seen
	descriptors int // 0 where that cannot be seen
}

func (g *gateway) footprint() (footprint, error) {
	var f footprint
	for range 3 { // pools are emptied by the second collection
		heap, err := g.do(http.MethodGet, "/debug/pprof/heap?gc=1&debug=1", "")
		if err != nil {
			return f, err
		}
		f.heap = numberAfter(heap, "# HeapAlloc = ")
	}
	stacks, err := g.do(http.MethodGet, "/debug/pprof/goroutine?debug=1", "")
	if err != nil {
		return f, err
	}
	f.goroutines = numberAfter(stacks, "goroutine profile: total ")
	proc := filepath.Join("/proc", strconv.Itoa(g.cmd.Process.Pid))
	if status, err := os.ReadFile(filepath.Join(proc, "status")); err == nil { //nolint:gosec // the path is made of a number
		f.resident = numberAfter(status, "VmRSS:") << 10
	}
	if fds, err := os.ReadDir(filepath.Join(proc, "fd")); err == nil {
		f.descriptors = len(fds)
	}
	return f, nil
}

// saveHeap writes a profile of the live heap.
func (g *gateway) saveHeap(file string) error {
	profile, err := g.do(http.MethodGet, "/debug/pprof/heap?gc=1", "")
	if err != nil {
		return err
	}
	return os.WriteFile(file, profile, 0o600)
}

// numberAfter finds a number in a text, 0 where there is none.
func numberAfter(text []byte, label string) int {
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), label); ok {
			number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			n, _ := strconv.Atoi(number)
			return n
		}
	}
	return 0
}

// exit ends the process as a deployment does, and tells how long that took.
func (g *gateway) exit() (time.Duration, error) {
	began := time.Now()
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	force := time.AfterFunc(patience, func() { _ = g.cmd.Process.Kill() })
	defer force.Stop()
	err := g.cmd.Wait()
	return time.Since(began), err
}

func (g *gateway) stop() {
	if g == nil {
		return
	}
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	force := time.AfterFunc(15*time.Second, func() { _ = g.cmd.Process.Kill() })
	defer force.Stop()
	_ = g.cmd.Wait()
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}
