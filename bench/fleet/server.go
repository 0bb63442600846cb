package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// server is a redis-server on loopback that keeps nothing on disk.
type server struct {
	addr, dir string
	cmd       *exec.Cmd
}

func startRedis(dir string) (*server, error) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return nil, errors.New("there is no redis-server: install it with apt-get install redis-server")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{addr: ln.Addr().String(), dir: dir}
	_ = ln.Close()
	return s, s.start()
}

func (s *server) start() error {
	_, port, _ := net.SplitHostPort(s.addr)
	s.cmd = exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, //nolint:gosec // found in PATH
		"--save", "", "--appendonly", "no", "--dir", s.dir)
	if err := s.cmd.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		_, err := s.info("server")
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waiting for redis-server: %w", err)
		}
	}
}

// kill ends the server as kill -9 does; what it had is lost.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// info reads numbers that the server tells of itself, over a connection of its own.
func (s *server) info(section string) (map[string]float64, error) {
	conn, err := net.DialTimeout("tcp", s.addr, time.Second)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, "INFO "+section+"\r\n"); err != nil {
		return nil, err
	}
	answer := bufio.NewReader(conn)
	head, err := answer.ReadString('\n')
	if err != nil {
		return nil, err
	}
	size, err := strconv.Atoi(strings.Trim(head, "$\r\n"))
	if err != nil {
		return nil, fmt.Errorf("redis-server answers %q", head)
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(answer, text); err != nil {
		return nil, err
	}
	numbers := make(map[string]float64)
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value, _, _ = strings.Cut(strings.TrimPrefix(value, "calls="), ",")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			numbers[name] = n
		}
	}
	return numbers, nil
}

// load is what the server has done so far, and what it holds.
type load struct {
	scripts  float64 // that were run
	commands float64 // in all, those of scripts among them
	cpu      float64 // seconds
	bytes    float64 // in use
}

func (s *server) load() (l load, err error) {
	all, err := s.info("everything")
	if err != nil {
		return l, err
	}
	for _, name := range []string{"cmdstat_eval", "cmdstat_evalsha", "cmdstat_fcall"} {
		l.scripts += all[name]
	}
	l.commands = all["total_commands_processed"]
	l.cpu = all["used_cpu_user"] + all["used_cpu_sys"]
	l.bytes = all["used_memory"]
	return l, nil
}
