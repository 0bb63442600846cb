// Package redistest starts real Redis servers for tests.
package redistest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patience is how long a server may take for anything, on any machine.
const patience = time.Minute

// Server is a server on the loopback interface that keeps nothing on disk.
type Server struct {
	Addr string // host:port

	t       testing.TB
	dir     string
	args    []string
	process *exec.Cmd // nil while the server is dead
	exited  chan struct{}
}

// Start starts a server with more arguments, as its command line has them. It is killed
// when the test ends. Without a program redis-server the test is skipped; where the
// environment variable CI is set, it fails.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no redis-server: install it")
		}
		t.Skip("there is no redis-server: install it to run this test")
	}
	s := &Server{t: t, dir: t.TempDir(), args: args}
	t.Cleanup(s.Kill)
	for range 20 { // another process may take a free port first
		s.Addr = freeAddr(t)
		err := s.start()
		if err == nil {
			return s
		}
		t.Logf("redis-server on %s: %v", s.Addr, err)
	}
	t.Fatal("redis-server does not start")
	return nil
}

func freeAddr(t testing.TB) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// start starts the server on its address, and returns once it takes connections.
func (s *Server) start() error {
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return err
	}
	logPath := filepath.Join(s.dir, "log")
	args := append([]string{
		"--bind", "127.0.0.1", "--port", port, "--dir", s.dir, "--save", "", "--appendonly", "no", "--daemonize", "no",
	}, s.args...)
	log, err := os.Create(logPath) //nolint:gosec // in the test's directory
	if err != nil {
		return err
	}
	defer log.Close()
	process := exec.Command("redis-server", args...) //nolint:gosec // tests say with what
	process.Stdout, process.Stderr = log, log
	if err := process.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = process.Wait() // it is killed
	}()
	s.process, s.exited = process, exited
	if err := s.ready(); err != nil {
		s.Kill()
		said, _ := os.ReadFile(logPath) //nolint:gosec // as above
		return fmt.Errorf("%w: %s", err, said)
	}
	return nil
}

// ready waits until the server that was started takes connections.
func (s *Server) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := s.try(); err == nil {
			return nil
		}
		select {
		case <-s.exited:
			return errors.New("it has exited")
		case <-ctx.Done():
			return errors.New("it does not answer")
		case <-tick.C:
		}
	}
}

// try checks that the process that answers is the one that was started: another one may
// have taken the port.
func (s *Server) try() error {
	said, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err
	}
	if !strings.Contains(string(said), "eady to accept connections") {
		return errors.New("it is not ready")
	}
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

// URL returns the server's URL, for a user with a password where these are not empty.
func (s *Server) URL(user, password string) string {
	if user == "" && password == "" {
		return "redis://" + s.Addr
	}
	return "redis://" + user + ":" + password + "@" + s.Addr
}

// Kill ends the server at once; what it had is lost.
func (s *Server) Kill() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill() // it may have exited
	<-s.exited
	s.process = nil
}

// Restart starts the server again on its address, after it was killed if it runs.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	if err := s.start(); err != nil {
		s.t.Fatalf("redis-server on %s: %v", s.Addr, err)
	}
}

// Do sends a command, as the default user, and returns the answer: a string, an int64, a
// []any of these, or nil. An answer that is an error fails the test.
func (s *Server) Do(args ...string) any {
	s.t.Helper()
	answer, err := s.do(args)
	if err != nil {
		s.t.Fatalf("%s: %v", args[0], err)
	}
	return answer
}

func (s *Server) do(args []string) (any, error) {
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	var command strings.Builder
	fmt.Fprintf(&command, "*%d\r\n", len(args))
	for _, arg := range args {
		fmt.Fprintf(&command, "$%d\r\n%s\r\n", len(arg), arg)
	}
	if _, err := io.WriteString(conn, command.String()); err != nil {
		return nil, err
	}
	return readReply(bufio.NewReader(conn))
}

// readReply reads an answer in version 2 of the protocol.
func readReply(r *bufio.Reader) (any, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	kind, rest := line[0], strings.TrimSuffix(line[1:], "\r\n")
	switch kind {
	case '+':
		return rest, nil
	case '-':
		return nil, errors.New(rest)
	}
	n, err := strconv.ParseInt(rest, 10, 64)
	switch {
	case err != nil:
		return nil, err
	case kind == ':':
		return n, nil
	case n < 0:
		return nil, nil
	case kind == '$':
		text := make([]byte, n+2)
		if _, err := io.ReadFull(r, text); err != nil {
			return nil, err
		}
		return string(text[:n]), nil
	}
	all := make([]any, n)
	for i := range all {
		if all[i], err = readReply(r); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Cluster starts a server in cluster mode that has all slots.
func Cluster(t testing.TB, args ...string) *Server {
	t.Helper()
	s := Start(t, append([]string{"--cluster-enabled", "yes"}, args...)...)
	slots := make([]string, 0, 16386)
	slots = append(slots, "CLUSTER", "ADDSLOTS")
	for slot := range 16384 {
		slots = append(slots, strconv.Itoa(slot))
	}
	s.Do(slots...)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		info, _ := s.Do("CLUSTER", "INFO").(string)
		if strings.Contains(info, "cluster_state:ok") {
			return s
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the cluster does not come up: %s", info)
		case <-tick.C:
		}
	}
}
