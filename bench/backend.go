//go:build linux

package main

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // RFC 6455 asks for it
	"encoding/base64"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// backend is the server behind every proxy, one of two. It sends each frame
// back, and on the path /push a message a second of its own accord.
type backend struct {
	*loop
	pushes *shape
	slots  [slots][]*sock // the connections of /push, by the millisecond that is theirs
	slot   int
	opened uint32

	pushers int // connections of /push; there are ticks while there are any
	start   time.Time
	ticks   int64
}

// slots is how many moments a second's messages are spread over.
const slots = int(time.Second / tickEvery)

// served is what a backend knows of a connection.
type served struct {
	head   []byte // of the request, until it is whole
	open   bool
	frames unmask
	slot   int // -1 without pushes
	flood  int // bytes that are still to come
}

const pushSize = 32

// On floodPath, the backend sends as much as it can, up to floodSize.
const (
	floodPath = "/flood"
	floodSize = 1 << 30
)

// floodPiece is what a flood is made of.
var floodPiece = func() []byte {
	s := shapeOf(64<<10 - 14)
	return slices.Clip(append(s.header, s.frame[s.at:]...)) // so that nobody appends to it
}()

// serveBackend serves each of the addresses with a loop of its own.
func serveBackend(addrs string) error {
	failed := make(chan error, 1)
	for addr := range strings.SplitSeq(addrs, ",") {
		b, err := newBackend(addr)
		if err != nil {
			return err
		}
		go func() { failed <- b.run() }()
	}
	return <-failed
}

func newBackend(addr string) (*backend, error) {
	l, err := newLoop()
	if err != nil {
		return nil, err
	}
	b := &backend{loop: l, pushes: shapeOf(pushSize)}
	b.received, b.accepted, b.tick, b.gone = b.receive, b.accept, b.push, b.forget
	at, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return nil, err
	}
	if b.listener, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0); err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	err = errors.Join(
		syscall.SetsockoptInt(b.listener, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1),
		syscall.Bind(b.listener, &syscall.SockaddrInet4{Port: at.Port, Addr: [4]byte{127, 0, 0, 1}}),
		syscall.Listen(b.listener, 4096),
	)
	if err != nil {
		return nil, os.NewSyscallError("listen", err)
	}
	return b, b.control(syscall.EPOLL_CTL_ADD, b.listener, syscall.EPOLLIN)
}

func (b *backend) accept() {
	for {
		fd, _, err := syscall.Accept4(b.listener, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
		b.opened++
		s := &sock{fd: fd, number: b.opened, server: &served{slot: -1}}
		if b.add(s) != nil {
			_ = syscall.Close(fd)
		}
	}
}

func (b *backend) receive(s *sock, p []byte) error {
	v := s.server
	if !v.open {
		var err error
		if p, err = b.shake(s, p); err != nil || len(p) == 0 {
			return err
		}
	}
	if out := v.frames.apply(p); len(out) > 0 {
		if err := b.send(s, out); err != nil {
			return err
		}
	}
	if v.frames.closed && v.frames.remaining == 0 {
		if len(s.out) == 0 {
			return io.EOF
		}
		s.closing = true
	}
	return nil
}

// shake answers the handshake once it is whole; it returns what follows it.
func (b *backend) shake(s *sock, p []byte) ([]byte, error) {
	v := s.server
	v.head = append(v.head, p...)
	head, rest, ok := bytes.Cut(v.head, []byte("\r\n\r\n"))
	if !ok {
		return nil, nil
	}
	v.head, v.open = nil, true
	var key string
	lines := strings.Split(string(head), "\r\n")
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		switch {
		case strings.EqualFold(name, "Sec-WebSocket-Key"):
			key = strings.TrimSpace(value)
		case strings.EqualFold(name, "Authorization"):
			return nil, errors.New("a credential reached the backend")
		}
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // as above
	answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n"
	if err := b.send(s, []byte(answer)); err != nil {
		return nil, err
	}
	if strings.HasPrefix(lines[0], "GET "+floodPath+" ") {
		v.flood = floodSize
		return rest, b.interest(s)
	}
	if strings.HasPrefix(lines[0], "GET /push ") {
		v.slot = int(s.number) * 617 % slots // evenly, from the first on
		b.slots[v.slot] = append(b.slots[v.slot], s)
		if b.pushers++; b.pushers == 1 {
			b.start, b.ticks = time.Now(), 0
			return rest, b.startTicks()
		}
	}
	return rest, nil
}

// push sends to those whose moment has come. A message is due when its
// millisecond begins, however late this loop gets to it.
func (b *backend) push(n uint64) {
	for range n {
		b.ticks++
		due := b.start.Add(time.Duration(b.ticks) * tickEvery).UnixNano()
		b.slot = (b.slot + 1) % slots
		for _, s := range b.slots[b.slot] {
			s.sent++
			p := b.pushes.header
			if err := b.send(s, b.pushed(p, stamp{due, s.number, s.sent})); err != nil {
				_ = syscall.Shutdown(s.fd, syscall.SHUT_RDWR) // the loop sees to the rest
			}
		}
	}
}

// pushed is a server's frame with that stamp, until the next call.
func (b *backend) pushed(header []byte, st stamp) []byte {
	frame := b.pushes.stamped(st)
	from := b.pushes.at - len(header)
	copy(frame[from:], header)
	return frame[from:]
}

func (b *backend) forget(s *sock, _ error) {
	if at := s.server.slot; at >= 0 {
		if b.pushers--; b.pushers == 0 {
			b.stopTicks() // which would cost CPU while others are measured
		}
		for i, other := range b.slots[at] {
			if other == s {
				last := len(b.slots[at]) - 1
				b.slots[at][i] = b.slots[at][last]
				b.slots[at] = b.slots[at][:last]
				break
			}
		}
	}
}
