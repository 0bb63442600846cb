package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startPatience = 60 * time.Second
	stopPatience  = 60 * time.Second
	quietPatience = 45 * time.Second // QUIC forgets a connection after 30 s
	lookEvery     = 50 * time.Millisecond
	shownOfLog    = 10 << 10
)

// gateway is the Caddy that is driven.
type gateway struct {
	dir                              string
	httpAddr, httpsAddr, wrappedAddr string
	admin                            *http.Client

	command *exec.Cmd
	log     *os.File

	mu     sync.Mutex // guards what follows
	exited error      // nil while it runs
	gone   chan struct{}
	asked  bool // to stop
}

// configure fills in a Caddyfile: the gateway's own addresses, and pairs of what stands
// for what.
func (g *gateway) configure(caddyfile string, pairs ...string) string {
	return strings.NewReplacer(append(pairs,
		"{dir}", g.dir, "{admin}", filepath.Join(g.dir, "admin"),
		"{http}", portOf(g.httpAddr), "{https}", portOf(g.httpsAddr), "{wrapped}", portOf(g.wrappedAddr),
	)...).Replace(caddyfile)
}

// startGateway runs the binary with a Caddyfile and waits for it: a request that comes while
// Caddy still starts its servers is a race within Caddy.
func startGateway(ctx context.Context, binary, dir string, caddyfile func(*gateway) string, environment ...string) (*gateway, error) {
	admin := filepath.Join(dir, "admin")
	g := &gateway{dir: dir, gone: make(chan struct{})}
	g.admin = &http.Client{Timeout: startPatience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", admin)
		},
	}}
	var err error
	for _, address := range []*string{&g.httpAddr, &g.httpsAddr, &g.wrappedAddr} {
		if *address, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(caddyfile(g)), 0o600); err != nil {
		return nil, err
	}
	if g.log, err = os.Create(filepath.Join(dir, "log")); err != nil { //nolint:gosec // a name of our own
		return nil, err
	}
	g.command = exec.CommandContext(ctx, binary, "run", "--config", file, "--adapter", "caddyfile") //nolint:gosec // the caller names it
	g.command.Stdout, g.command.Stderr = g.log, g.log
	g.command.Env = append(os.Environ(), "GODEBUG=http2xconnect=1", "GORACE=halt_on_error=1",
		"XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir, "HOME="+dir)
	g.command.Env = append(g.command.Env, environment...)
	if err := g.command.Start(); err != nil {
		return nil, err
	}
	go g.watch()
	if !poll(startPatience, func() bool {
		_, err := g.ask("/config/") // is answered once Caddy has started everything
		return err == nil && listens(g.httpAddr) && listens(g.httpsAddr) && listens(g.wrappedAddr) || g.isWell() != nil
	}) {
		return nil, errors.New("the gateway does not start")
	}
	if err := g.isWell(); err != nil {
		g.showLog()
		return nil, err
	}
	return g, nil
}

// watch notes the end of the process.
func (g *gateway) watch() {
	err := g.command.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.exited = err; err == nil && !g.asked {
		g.exited = errors.New("it exited of its own accord")
	}
	close(g.gone)
}

// isWell says why the process is not alive and well.
func (g *gateway) isWell() error {
	select {
	case <-g.gone:
		g.mu.Lock()
		defer g.mu.Unlock()
		return fmt.Errorf("the gateway died: %w", g.exited)
	default:
		return nil
	}
}

// stop asks the process to exit, which it must do without complaint.
func (g *gateway) stop() error {
	g.mu.Lock()
	g.asked = true
	g.mu.Unlock()
	if err := g.command.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if !poll(stopPatience, func() bool { return g.isWell() != nil }) {
		return errors.New("the gateway does not exit")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.exited != nil {
		return fmt.Errorf("the gateway exited: %w", g.exited)
	}
	return g.confessed()
}

// confessed looks for what must not be in the log.
func (g *gateway) confessed() error {
	log, err := os.ReadFile(g.log.Name())
	if err != nil {
		return err
	}
	for _, word := range []string{"panic: ", "panic serving", "panicked", "DATA RACE", "fatal error: "} {
		if before, _, found := bytes.Cut(log, []byte(word)); found {
			from := bytes.LastIndexByte(before, '\n') + 1
			return fmt.Errorf("there is %q in the log:\n%s", word, log[from:min(len(log), from+shownOfLog)])
		}
	}
	return nil
}

// kill ends the process if it still runs.
func (g *gateway) kill() {
	_ = g.command.Process.Kill()
	<-g.gone
	_ = g.log.Close()
}

// showLog prints the beginning of the log, which says what came first.
func (g *gateway) showLog() {
	log, err := os.Open(g.log.Name())
	if err != nil {
		return
	}
	defer log.Close()
	fmt.Fprintln(os.Stderr, "Caddy's log:")
	_, _ = io.CopyN(os.Stderr, log, shownOfLog)
}

// ask asks the admin endpoint.
func (g *gateway) ask(path string) ([]byte, error) {
	return answered(g.admin.Get("http://admin" + path))
}

// load has Caddy take another Caddyfile.
func (g *gateway) load(caddyfile string) error {
	_, err := answered(g.admin.Post("http://admin/load", "text/caddyfile", strings.NewReader(caddyfile)))
	return err
}

func answered(res *http.Response, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %.500s", res.Request.URL.Path, res.Status, body)
	}
	return body, err
}

// live is how many connections the gateway counts, in every place where it does; what is
// left of one in a single place shows too.
func (g *gateway) live() (n int, err error) {
	body, err := g.ask("/ws_gateway/")
	if err != nil {
		return 0, err
	}
	var gateways []struct {
		Queued    int
		Upstreams []struct{ Live int }
		Limits    struct {
			Connections        struct{ Used int }
			ConnectionsPerIP   struct{ Top []struct{ Used int } } `json:"connections_per_ip"`
			ConnectionsPerUser struct{ Top []struct{ Used int } } `json:"connections_per_user"`
		}
	}
	if err := json.Unmarshal(body, &gateways); err != nil {
		return 0, err
	}
	for _, one := range gateways {
		n += one.Queued + one.Limits.Connections.Used
		for _, use := range append(one.Limits.ConnectionsPerIP.Top, one.Limits.ConnectionsPerUser.Top...) {
			n += use.Used
		}
		for _, up := range one.Upstreams {
			n += up.Live
		}
	}
	return n, nil
}

// measured sums up a metric; it is zero where there is none of the name.
func (g *gateway) measured(names ...string) (sum float64, err error) {
	body, err := g.ask("/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(body)) {
		for _, name := range names {
			rest, ok := strings.CutPrefix(line, name)
			if !ok || rest[0] != '{' && rest[0] != ' ' {
				continue
			}
			value, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' '):]), 64)
			if err != nil {
				return 0, err
			}
			sum += value
		}
	}
	return sum, nil
}

// freeAddress finds an address on loopback that is free for both TCP and UDP, below the
// ports that the system gives to outgoing connections.
func freeAddress() (string, error) {
	for range 1000 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(20_000+rand.IntN(12_000))) //nolint:gosec // any will do
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		packets, err := net.ListenPacket("udp", address)
		_ = l.Close()
		if err == nil {
			_ = packets.Close()
			return address, nil
		}
	}
	return "", errors.New("no port is free for both TCP and UDP")
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// listens reports whether a server listens at the address.
func listens(address string) bool {
	conn, err := net.Dial("tcp", address)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

// poll asks done until it says yes or the time is up.
func poll(limit time.Duration, done func() bool) bool {
	for until := time.Now().Add(limit); !done(); time.Sleep(lookEvery) {
		if time.Now().After(until) {
			return false
		}
	}
	return true
}
