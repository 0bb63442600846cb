package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/bench/caddy"
	"github.com/wsgateway/caddy-ws-gateway/bench/sink"
)

// kinds are gateways, each under one cap that is never met.
var kinds = []struct{ name, words string }{
	{"connections_per_user", "limit {\n connections_per_user 100000\n }"},
	{"connections_per_ip", "limit {\n connections_per_ip 100000\n }"},
	{"both of them", "limit {\n connections_per_user 100000\n connections_per_ip 100000\n }"},
	{"handshakes_per_ip", "limit {\n handshakes_per_ip 1000000/1s\n }"},
	{"connections", "limit {\n connections 100000\n }"},
	{"max_conns", "max_conns 100000"},
	{"no cap", ""},
}

// measure shakes hands with a gateway in a fleet and with one in none, by turns.
func measure(ctx context.Context, count int, timeout time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	dir, err := os.MkdirTemp("", "wsgw-fleet")
	if err != nil {
		cancel()
		return err
	}
	defer os.RemoveAll(dir)
	server, err := startRedis(dir)
	if err != nil {
		cancel()
		return err
	}
	defer server.kill()
	upstream, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		cancel()
		return err
	}
	defer upstream.Close()
	go sink.Serve(upstream)
	binary := filepath.Join(dir, "caddy")
	if err := caddy.Build(ctx, binary); err != nil {
		cancel()
		return err
	}
	options := fmt.Sprintf("ws_gateway {\n fleet redis redis://%s {\n node bench\n secret bench\n heartbeat 1m\n timeout %s\n }\n }", server.addr, timeout)
	var pair [2]*gateway
	for i, o := range []string{"", options} {
		if pair[i], err = startGateway(ctx, dir, binary, upstream.Addr().String(), o); err != nil {
			cancel()
			return err
		}
	}
	defer func() {
		cancel()
		for _, g := range pair {
			_ = g.cmd.Wait()
		}
	}()
	fmt.Print("| cap | without: p50 ms | p99 | with a fleet: p50 | p99 | added p50 | p99 | scripts a handshake |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for i, kind := range kinds {
		if err := compare(pair, server, kind.name, fmt.Sprint("/", i), count); err != nil {
			return fmt.Errorf("%s: %w", kind.name, err)
		}
	}
	return nil
}

// compare prints a row.
func compare(pair [2]*gateway, server *server, name, path string, count int) error {
	var took [2][]time.Duration
	var before load
	warm := max(20, count/10)
	for i := range count + warm {
		if i == warm {
			var err error
			if before, err = server.load(); err != nil {
				return err
			}
			took = [2][]time.Duration{}
		}
		for turn := range 2 {
			which := (i + turn) % 2
			d, err := shake(pair[which].address, path)
			if err != nil {
				return err
			}
			took[which] = append(took[which], d)
		}
	}
	after, err := server.load()
	if err != nil {
		return err
	}
	slices.Sort(took[0])
	slices.Sort(took[1])
	row := []any{name}
	for _, which := range took {
		row = append(row, millis(quantile(which, 0.5)), millis(quantile(which, 0.99)))
	}
	for _, q := range []float64{0.5, 0.99} {
		row = append(row, millis(quantile(took[1], q)-quantile(took[0], q)))
	}
	row = append(row, (after.scripts-before.scripts)/float64(count))
	fmt.Printf("| %s | %s | %s | %s | %s | %s | %s | %.3f |\n", row...)
	return nil
}

// shake returns how long a handshake took, and closes the connection.
func shake(address, path string) (time.Duration, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	began := time.Now()
	_, err = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nAuthorization: Bearer token-of-alice\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	if err != nil {
		return 0, err
	}
	reader := bufio.NewReaderSize(conn, 512)
	res, err := http.ReadResponse(reader, nil) //nolint:bodyclose // the connection is closed
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		return 0, fmt.Errorf("a handshake was answered %s", res.Status)
	}
	_, _ = io.WriteString(conn, "\x88\x82\x00\x00\x00\x00\x03\xe8")
	_, _ = io.Copy(io.Discard, reader) // until both sides are closed
	return took, nil
}

// gateway is cmd/caddy in a process of its own.
type gateway struct {
	cmd     *exec.Cmd
	address string
}

func startGateway(ctx context.Context, dir, binary, upstream, options string) (*gateway, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &gateway{address: ln.Addr().String()}
	_ = ln.Close()
	var sites strings.Builder
	for i, kind := range kinds {
		fmt.Fprintf(&sites, "handle /%d {\n ws_gateway %s {\n name gateway%d\n auth {\n bearer token-of-alice alice\n }\n %s\n }\n }\n", i, upstream, i, kind.words)
	}
	file, storage := filepath.Join(dir, fmt.Sprint("Caddyfile-", len(options))), filepath.Join(dir, fmt.Sprint("storage-", len(options)))
	config := fmt.Sprintf("{\n admin off\n persist_config off\n auto_https off\n storage file_system %s\n log {\n level ERROR\n }\n %s\n}\nhttp://%s {\n %s\n}\n",
		storage, options, g.address, &sites)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	g.cmd = exec.CommandContext(ctx, binary, "run", "--config", file, "--adapter", "caddyfile") //nolint:gosec // built by measure
	g.cmd.Stderr = os.Stderr
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("tcp", g.address)
		if err == nil {
			return g, conn.Close()
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("waiting for the gateway: %w", err)
		}
	}
}
