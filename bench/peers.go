//go:build linux

package main

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/bench/caddy"
)

//go:embed configs
var configs embed.FS

//go:embed floor/floor.c
var floorSource string

// peer is one of those that are compared.
type peer struct {
	name string
	what string // for the legend
	only string // the one transport it can do, if not both
	// scenarios that it takes part in, with commas; all if empty.
	scenarios string
	// unasked is the transport it is measured over unless it is named; both if
	// empty.
	unasked string
	open    bool // it lets everybody in
	// prepare makes ready what start runs. An error means that it is not to be
	// had here.
	prepare func(w *workshop) error
	start   func(s setup) (*exec.Cmd, error)
	version func(w *workshop) string
}

// workshop is where peers are built.
type workshop struct {
	dir   string
	caddy string // a binary to take instead of building one
}

// setup is what a peer is started with.
type setup struct {
	Dir, Caddy  string
	Addr, Port  string
	Upstreams   []string
	Token       string
	TLS, Logs   bool
	Buffers     bool // large ones
	Files       uint64
	Connections uint64
	Admin       string
	Generation  int

	Identity bool          // upstreams are told who the user is
	Limits   bool          // all of them, and idle_timeout, none of which ends or slows anything
	Messages string        // handlers that messages go through, a line; "" for none
	Ping     time.Duration // how often clients are sent a ping; 0 for never
	Page     bool          // the live page is served
	Budget   string        // what stalled sides may hold together; the default if empty
}

const (
	nameFloor   = "floor"
	nameRelay   = "go-relay"
	nameGateway = "ws_gateway"
	nameCaddy   = "reverse_proxy"
	nameNginx   = "nginx"

	// allButGrowth is for those of whose growth nobody asks, to save time.
	allButGrowth = "echo,echo64k,bulk,push,paced,ping-pong,storm,storm-resumed,idle"
)

func peers() []peer {
	caddyVersion := func(w *workshop) string { return "Caddy " + firstWord(output(w.caddy, "version")) }
	return []peer{
		{name: nameFloor, what: "a relay in C with epoll that knows no HTTP", only: "ws", open: true, prepare: buildFloor, start: startFloor,
			version: func(*workshop) string { return firstLine(output("gcc", "--version")) }},
		{name: nameRelay, what: "a relay in Go, `io.Copy` both ways, that knows no HTTP", scenarios: allButGrowth, unasked: "wss", open: true, prepare: func(*workshop) error { return nil }, start: startRelay,
			version: func(*workshop) string { return strings.TrimSpace(output("go", "env", "GOVERSION")) }},
		{name: nameGateway, what: "this module", prepare: buildCaddy, start: startCaddy(nameGateway), version: caddyVersion},
		{name: nameCaddy, what: "Caddy's own, the same binary", prepare: buildCaddy, start: startCaddy(nameCaddy), version: caddyVersion},
		{name: nameNginx, what: "nginx", prepare: installed("nginx"), start: startNginx(false),
			version: func(*workshop) string { return strings.TrimPrefix(firstLine(output("nginx", "-v")), "nginx version: ") }},
		{name: "nginx-64k", what: "nginx with buffers of 64 KiB", scenarios: "echo64k,bulk", prepare: installed("nginx"), start: startNginx(true),
			version: func(*workshop) string { return "the same" }},
		{name: "haproxy", what: "HAProxy", scenarios: allButGrowth, prepare: installed("haproxy"), start: startHAProxy,
			version: func(*workshop) string { return firstLine(output("haproxy", "-v")) }},
		{name: "node", what: "http-proxy-middleware, a process for each core", scenarios: allButGrowth, prepare: installNode, start: startNode, version: nodeVersion},
	}
}

func installed(name string) func(*workshop) error {
	return func(*workshop) error {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%w; Debian's package %s has it", err, name)
		}
		return nil
	}
}

func buildFloor(w *workshop) error {
	if err := installed("gcc")(w); err != nil {
		return err
	}
	source := filepath.Join(w.dir, "floor.c")
	if err := os.WriteFile(source, []byte(floorSource), 0o600); err != nil {
		return err
	}
	return run("gcc", "-O2", "-Wall", "-o", filepath.Join(w.dir, "floor"), source)
}

func startFloor(s setup) (*exec.Cmd, error) {
	args := make([]string, 0, 1+len(s.Upstreams))
	args = append(args, s.Port)
	for _, upstream := range s.Upstreams {
		args = append(args, portOf(upstream))
	}
	return exec.Command(filepath.Join(s.Dir, "floor"), args...), nil //nolint:gosec // what we built
}

func startRelay(s setup) (*exec.Cmd, error) {
	self, err := os.Executable()
	args := []string{"-relay", s.Addr, "-to", strings.Join(s.Upstreams, ",")}
	if s.TLS {
		args = append(args, "-certs", s.Dir)
	}
	return exec.Command(self, args...), err //nolint:gosec // ourselves
}

func buildCaddy(w *workshop) error {
	if w.caddy != "" {
		return nil
	}
	w.caddy = filepath.Join(w.dir, "caddy")
	return caddy.Build(context.Background(), w.caddy)
}

func startCaddy(directive string) func(setup) (*exec.Cmd, error) {
	return func(s setup) (*exec.Cmd, error) {
		file, err := s.write(directive + ".caddyfile")
		return exec.Command(s.Caddy, "run", "--adapter", "caddyfile", "--config", file), err //nolint:gosec // what we built
	}
}

func startNginx(buffers bool) func(setup) (*exec.Cmd, error) {
	return func(s setup) (*exec.Cmd, error) {
		s.Buffers = buffers
		file, err := s.write("nginx.conf")
		return exec.Command("nginx", "-c", file), err //nolint:gosec // our own configuration
	}
}

func startHAProxy(s setup) (*exec.Cmd, error) {
	file, err := s.write("haproxy.cfg")
	return exec.Command("haproxy", "-db", "-f", file), err //nolint:gosec // our own configuration
}

// nodeDir is where proxy.js and its dependencies are.
func nodeDir() string {
	return filepath.Join(strings.TrimSpace(output("go", "list", "-m", "-f", "{{.Dir}}")), "node")
}

func installNode(w *workshop) error {
	if err := installed("node")(w); err != nil {
		return fmt.Errorf("%w as nodejs", err)
	}
	dir := nodeDir()
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "http-proxy-middleware")); err == nil {
		return nil
	}
	if err := run("npm", "ci", "--prefix", dir, "--no-audit", "--no-fund"); err != nil {
		return fmt.Errorf("its dependencies are missing, and: %w", err)
	}
	return nil
}

func nodeVersion(*workshop) string {
	lock, _ := os.ReadFile(filepath.Join(nodeDir(), "package.json"))
	var manifest struct{ Dependencies map[string]string }
	_ = json.Unmarshal(lock, &manifest)
	return fmt.Sprintf("http-proxy-middleware %s, Node %s", manifest.Dependencies["http-proxy-middleware"], strings.TrimSpace(output("node", "--version")))
}

func startNode(s setup) (*exec.Cmd, error) {
	config, err := json.Marshal(map[string]any{
		"dir": s.Dir, "port": s.Port, "upstreams": s.Upstreams, "token": s.Token, "tls": s.TLS, "logs": s.Logs,
	})
	return exec.Command("node", filepath.Join(nodeDir(), "proxy.js"), string(config)), err //nolint:gosec // our own
}

// write fills in a template and returns the file it made.
func (s setup) write(name string) (string, error) {
	t, err := template.New(name).Funcs(template.FuncMap{
		"join": func(list []string) string { return strings.Join(list, " ") },
	}).ParseFS(configs, "configs/"+name)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if err := t.Execute(&b, s); err != nil {
		return "", err
	}
	file := filepath.Join(s.Dir, name)
	return file, os.WriteFile(file, []byte(b.String()), 0o600)
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput() //nolint:gosec // our own tools
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func output(name string, args ...string) string {
	out, _ := exec.Command(name, args...).CombinedOutput() //nolint:gosec // our own tools
	return string(out)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(s), " ")
	return word
}
