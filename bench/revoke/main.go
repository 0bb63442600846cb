// Command revoke measures a revocation: how long it takes until the last of thousands of
// live connections of one user has been told, and whether any of them gets in again.
//
//	go run ./revoke [-conns 10000] [-revocations 100000]
//
// The gateway is a process of its own, on loopback only. Either process needs two
// descriptors for each connection.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/bench/caddy"
	"github.com/wsgateway/caddy-ws-gateway/bench/sink"
)

func main() {
	conns := flag.Int("conns", 10_000, "how many connections the user has")
	others := flag.Int("revocations", 0, "how many other revocations there are before")
	flag.Parse()
	if err := measure(*conns, *others); err != nil {
		fmt.Fprintln(os.Stderr, "revoke:", err)
		os.Exit(1)
	}
}

func measure(conns, others int) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir, err := os.MkdirTemp("", "wsgw-revoke")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	upstream, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer upstream.Close()
	go sink.Serve(upstream)
	g, err := startGateway(ctx, dir, upstream.Addr().String())
	if err != nil {
		return err
	}
	defer func() { cancel(); _ = g.cmd.Wait() }()
	if err := g.revokeOthers(others); err != nil {
		return err
	}
	f := &fleet{address: g.address}
	if err := f.open(conns); err != nil {
		return err
	}
	start := time.Now()
	answer, err := g.revoke(`{"user":"alice"}`)
	if err != nil {
		return err
	}
	answered := time.Since(start)
	f.running.Wait()
	f.comeBack(conns)
	fmt.Printf("%d connections, %d other revocations: answered after %s with %s; the last was told after %s (%d with 3000), %d came back with 401\n",
		conns, others, answered.Round(time.Millisecond), strings.TrimSpace(answer), f.last.Sub(start).Round(time.Millisecond), f.told.Load(), f.refused.Load())
	if f.told.Load() != int64(conns) || f.refused.Load() != int64(conns) {
		return errors.New("some were not ended, or got in again")
	}
	return nil
}

// gateway is cmd/caddy in a process of its own.
type gateway struct {
	cmd            *exec.Cmd
	address, admin string
}

func startGateway(ctx context.Context, dir, upstream string) (*gateway, error) {
	g := new(gateway)
	for _, address := range []*string{&g.address, &g.admin} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		*address = ln.Addr().String()
		_ = ln.Close()
	}
	binary, file := filepath.Join(dir, "caddy"), filepath.Join(dir, "Caddyfile")
	if err := caddy.Build(ctx, binary); err != nil {
		return nil, err
	}
	config := fmt.Sprintf("{\n admin %s\n persist_config off\n auto_https off\n storage file_system %s\n log {\n level ERROR\n }\n}\n"+
		"http://%s {\n ws_gateway %s {\n auth {\n bearer token-of-alice alice\n }\n }\n}\n", g.admin, dir, g.address, upstream)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	g.cmd = exec.CommandContext(ctx, binary, "run", "--config", file, "--adapter", "caddyfile") //nolint:gosec // built above
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

func (g *gateway) revoke(body string) (answer string, err error) {
	res, err := http.Post("http://"+g.admin+"/ws_gateway/revocations", "application/json", strings.NewReader(body)) //nolint:noctx // ends with the gateway
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	said, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusCreated {
		err = fmt.Errorf("revoking was answered %s: %s", res.Status, said)
	}
	return string(said), err
}

// revokeOthers makes revocations of tokens that nobody has, and says how long one took.
func (g *gateway) revokeOthers(n int) error {
	start := time.Now()
	for i := range n {
		if _, err := g.revoke(fmt.Sprintf(`{"jti":"other-%d"}`, i)); err != nil {
			return err
		}
		if done := i + 1; done%10_000 == 0 {
			fmt.Printf("%d revocations, the last 10,000 in %s each\n", done, time.Since(start)/10_000)
			start = time.Now()
		}
	}
	return nil
}

// fleet is the connections of the user.
type fleet struct {
	address       string
	running       sync.WaitGroup
	told, refused atomic.Int64

	mu   sync.Mutex
	last time.Time // one was told
}

func (f *fleet) open(n int) error {
	for range n {
		conn, status, err := f.dial()
		if err != nil {
			return err
		}
		if status != http.StatusSwitchingProtocols {
			return fmt.Errorf("a handshake was answered %d", status)
		}
		f.running.Go(func() { f.live(conn) })
	}
	return nil
}

func (f *fleet) dial() (conn net.Conn, status int, err error) {
	if conn, err = net.Dial("tcp", f.address); err != nil {
		return nil, 0, err
	}
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nAuthorization: Bearer token-of-alice\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	if err != nil {
		return conn, 0, err
	}
	res, err := http.ReadResponse(bufio.NewReaderSize(conn, 512), nil) //nolint:bodyclose // the connection is closed
	if err != nil {
		return conn, 0, err
	}
	return conn, res.StatusCode, nil
}

// live waits for the close frame, and answers it.
func (f *fleet) live(conn net.Conn) {
	defer conn.Close()
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil || head[0] != 0x88 || int(head[2])<<8|int(head[3]) != 3000 {
		return
	}
	f.told.Add(1)
	f.note()
	_, _ = io.WriteString(conn, "\x88\x82\x00\x00\x00\x00\x0b\xb8")
}

// comeBack tries as many handshakes as there were connections.
func (f *fleet) comeBack(n int) {
	for range n {
		conn, status, err := f.dial()
		if err == nil && status == http.StatusUnauthorized {
			f.refused.Add(1)
		}
		if conn != nil {
			_ = conn.Close()
		}
	}
}

func (f *fleet) note() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = time.Now()
}
