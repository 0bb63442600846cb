package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// client opens WebSockets at one address.
type client struct {
	addr string
	tls  *tls.Config // nil for ws
}

const request = "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

func (c client) dial(path string) (net.Conn, error) {
	conn, err := net.Dial("tcp", c.addr)
	if err != nil {
		return nil, err
	}
	if c.tls != nil {
		conn = tls.Client(conn, c.tls)
	}
	if err := shake(conn, path); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func shake(conn net.Conn, path string) error {
	if _, err := fmt.Fprintf(conn, request, path); err != nil {
		return err
	}
	var head []byte
	p := make([]byte, 1024)
	for !strings.Contains(string(head), "\r\n\r\n") {
		n, err := conn.Read(p)
		head = append(head, p[:n]...)
		if err != nil {
			return fmt.Errorf("handshake: %w after %q", err, head)
		}
	}
	if !strings.HasPrefix(string(head), "HTTP/1.1 101") {
		return fmt.Errorf("handshake: %.60q", head)
	}
	return nil
}

// dialMany opens n connections, a few at a time.
func (c client) dialMany(n int, path string) ([]net.Conn, error) {
	conns := make([]net.Conn, n)
	errs := make([]error, n)
	var next atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				conns[i], errs[i] = c.dial(path)
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		closeAll(slices.DeleteFunc(conns, func(c net.Conn) bool { return c == nil }))
		return nil, fmt.Errorf("%.200w", err)
	}
	return conns, nil
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		_ = c.Close()
	}
}

// message is a masked frame, with zeros for a mask, and size bytes.
func message(size int) []byte {
	return append(appendHeader(nil, 2, size, true), make([]byte, size)...)
}

// roundTrip sends a message and waits for its echo.
func roundTrip(c net.Conn, m []byte, echo []byte) error {
	if _, err := c.Write(m); err != nil {
		return err
	}
	_, err := io.ReadFull(c, echo)
	return err
}

// flatOut has each of n connections send the next message as soon as the echo
// of the last is there. It returns how many there were.
func (c client) flatOut(n, size int, d time.Duration, begin func()) (int, []time.Duration, error) {
	conns, err := c.dialMany(n, "/")
	if err != nil {
		return 0, nil, err
	}
	defer closeAll(conns)
	var count atomic.Int64
	var all sync.WaitGroup
	begin()
	until := time.Now().Add(d)
	for _, conn := range conns {
		all.Go(func() {
			m := message(size)
			echo := make([]byte, len(m)-4)
			for time.Now().Before(until) && roundTrip(conn, m, echo) == nil {
				count.Add(1)
			}
		})
	}
	all.Wait()
	return int(count.Load()), nil, nil
}

// paced has n connections send at rate messages a second in all.
func (c client) paced(n, rate int, d time.Duration, begin func()) (int, []time.Duration, error) {
	conns, err := c.dialMany(n, "/")
	if err != nil {
		return 0, nil, err
	}
	defer closeAll(conns)
	every := time.Duration(n) * time.Second / time.Duration(rate)
	took := make([][]time.Duration, n)
	var all sync.WaitGroup
	begin()
	start := time.Now()
	for i, conn := range conns {
		all.Go(func() {
			m := message(32)
			echo := make([]byte, len(m)-4)
			at := start.Add(every * time.Duration(i) / time.Duration(n))
			for ; at.Before(start.Add(d)); at = at.Add(every) {
				time.Sleep(time.Until(at))
				sent := time.Now()
				if roundTrip(conn, m, echo) != nil {
					return
				}
				took[i] = append(took[i], time.Since(sent))
			}
		})
	}
	all.Wait()
	latencies := slices.Concat(took...)
	return len(latencies), latencies, nil
}

// pushed has n connections receive a message a second each.
func (c client) pushed(n int, d time.Duration, begin func()) (int, []time.Duration, error) {
	conns, err := c.dialMany(n, "/push")
	if err != nil {
		return 0, nil, err
	}
	var count atomic.Int64
	var all sync.WaitGroup
	for _, conn := range conns {
		all.Go(func() {
			p := make([]byte, 34)
			for {
				if _, err := io.ReadFull(conn, p); err != nil {
					return
				}
				count.Add(1)
			}
		})
	}
	time.Sleep(time.Second)
	before := count.Load()
	begin()
	time.Sleep(d)
	got := int(count.Load() - before)
	closeAll(conns)
	all.Wait()
	return got, nil, nil
}

// storm opens connections, uses each once and closes it in order.
func (c client) storm(workers int, d time.Duration, begin func()) (int, []time.Duration, error) {
	var count atomic.Int64
	var all sync.WaitGroup
	errs := make([]error, workers)
	begin()
	until := time.Now().Add(d)
	for w := range workers {
		all.Go(func() {
			m := message(32)
			for time.Now().Before(until) {
				if errs[w] = c.useOnce(m); errs[w] != nil {
					return
				}
				count.Add(1)
			}
		})
	}
	all.Wait()
	return int(count.Load()), nil, errors.Join(errs...)
}

func (c client) useOnce(m []byte) error {
	conn, err := c.dial("/")
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := roundTrip(conn, m, make([]byte, len(m)-4)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte{0x88, 0x82, 0, 0, 0, 0, 3, 232}); err != nil {
		return err
	}
	br := bufio.NewReaderSize(conn, 64)
	for {
		if _, err := br.ReadByte(); err != nil {
			return nil
		}
	}
}
