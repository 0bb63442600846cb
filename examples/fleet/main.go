// Command fleet runs two gateways that count together in a Redis, two upstreams and the
// Redis, until it is interrupted:
//
//	go run ./examples/fleet [-port 8081]
//
// All of them are processes of their own, and listen on loopback only, on ports from the
// one that is given.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/wsgateway/caddy-ws-gateway"
)

const dir = "examples/fleet"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "run" { // one of the processes that are started below
		caddycmd.Main()
		return
	}
	port := flag.Int("port", 8081, "the first of seven ports in a row")
	flag.Parse()
	if err := demonstrate(*port); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func demonstrate(port int) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	redis, err := exec.LookPath("redis-server")
	if err != nil {
		return errors.New("there is no redis-server: install it with apt-get install redis-server")
	}
	if _, err := os.Stat(filepath.Join(dir, "gateway.Caddyfile")); err != nil {
		return fmt.Errorf("run it from the root of the repository: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "ws-gateway-fleet")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	d := &demonstration{port: port, self: self, work: work, exits: make(chan string, 4)}
	defer d.stop()
	if err := d.start(redis); err != nil {
		return err
	}
	if err := d.await(ctx); err != nil {
		return err
	}
	d.tell()
	select {
	case <-ctx.Done():
		return nil
	case name := <-d.exits:
		return fmt.Errorf("%s has exited: is one of the ports %d to %d in use?", name, port, port+6)
	}
}

// demonstration is what runs.
type demonstration struct {
	port    int // the first
	self    string
	work    string // a directory
	started []*started
	exits   chan string // the names of those that exited by themselves
}

type started struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// The ports, after the first.
const (
	firstGateway, secondGateway   = 0, 1
	firstUpstream, secondUpstream = 2, 3
	redisPort                     = 4
	firstAdmin, secondAdmin       = 5, 6
)

func (d *demonstration) at(offset int) string { return strconv.Itoa(d.port + offset) }

// start starts the processes, those that others need first.
func (d *demonstration) start(redis string) error {
	if err := d.run("redis-server", exec.Command(redis, "--bind", "127.0.0.1", "--port", d.at(redisPort), //nolint:gosec // found in PATH
		"--save", "", "--appendonly", "no", "--dir", d.work, "--loglevel", "warning")); err != nil {
		return err
	}
	if err := d.caddy("the upstreams", "upstreams.Caddyfile"); err != nil {
		return err
	}
	for i, offset := range []int{firstGateway, secondGateway} {
		name := fmt.Sprint("gateway-", i+1)
		err := d.caddy(name, "gateway.Caddyfile", "NODE="+name, "PORT="+d.at(offset), "ADMIN_PORT="+d.at(firstAdmin+i),
			"STORAGE="+filepath.Join(d.work, name), "REDIS_URL=redis://127.0.0.1:"+d.at(redisPort))
		if err != nil {
			return err
		}
	}
	return nil
}

// caddy starts this binary as a Caddy.
func (d *demonstration) caddy(name, file string, env ...string) error {
	cmd := exec.Command(d.self, "run", "--config", filepath.Join(dir, file), "--adapter", "caddyfile") //nolint:gosec // this very binary
	cmd.Env = append(os.Environ(), "UPSTREAM_ONE="+d.at(firstUpstream), "UPSTREAM_TWO="+d.at(secondUpstream))
	cmd.Env = append(cmd.Env, env...)
	return d.run(name, cmd)
}

func (d *demonstration) run(name string, cmd *exec.Cmd) error {
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	s := &started{cmd, make(chan struct{})}
	d.started = append(d.started, s)
	go func() {
		_ = cmd.Wait()
		close(s.done)
		d.exits <- name
	}()
	return nil
}

// await waits until the gateways and the upstreams serve.
func (d *demonstration) await(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for _, offset := range []int{redisPort, firstUpstream, secondUpstream, firstGateway, secondGateway} {
		for {
			conn, err := net.Dial("tcp", "127.0.0.1:"+d.at(offset))
			if err == nil {
				_ = conn.Close()
				break
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case name := <-d.exits:
				return fmt.Errorf("%s has exited: is one of the ports %d to %d in use?", name, d.port, d.port+6)
			case <-tick.C:
			}
		}
	}
	return nil
}

// tell says where everything is.
func (d *demonstration) tell() {
	fmt.Printf("\nThe gateways: http://localhost:%s and http://localhost:%s\n", d.at(firstGateway), d.at(secondGateway))
	fmt.Printf("Their live pages: http://localhost:%s/status and http://localhost:%s/status\n", d.at(firstGateway), d.at(secondGateway))
	fmt.Printf("The fleet: http://localhost:%s/ws_gateway/fleet\n", d.at(firstAdmin))
	fmt.Printf("The Redis: redis://127.0.0.1:%s\n\nStop all with ^C.\n", d.at(redisPort))
}

// stop ends the processes, the gateways before the Redis that they give their share back
// to.
func (d *demonstration) stop() {
	for _, s := range slices.Backward(d.started) {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(15*time.Second, func() { _ = s.cmd.Process.Kill() })
		<-s.done
		late.Stop()
	}
}
