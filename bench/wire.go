//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// token is what clients must show, and the proxies compare.
const token = "b3a2f7c49d0e4f58a6d1c7e2905b8f36" //nolint:gosec // it opens nothing but what this starts

const patience = 20 * time.Second // for a handshake, or an echo

// client opens WebSockets at one address.
type client struct {
	addr    string
	tls     *tls.Config // nil for ws
	open    bool        // it wants no token
	returns bool        // it resumes the session that it had before
}

// clientOf is a client of a proxy. It offers what browsers offer, tickets
// included, but comes back with none unless it is one that returns; and it offers
// no post-quantum key exchange, since not every proxy here has one.
func clientOf(addr string, secure bool) client {
	c := client{addr: addr}
	if secure {
		c.tls = &tls.Config{
			InsecureSkipVerify: true, //nolint:gosec // our own certificate; and no proxy's cost depends on it
			ServerName:         "localhost", MinVersion: tls.VersionTLS13,
			CurvePreferences: []tls.CurveID{tls.X25519}, ClientSessionCache: forgetful{},
		}
	}
	return c
}

// returning is the same client with a memory of its own for the session to resume.
func (c client) returning() client {
	c.returns, c.tls = true, c.tls.Clone()
	c.tls.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	return c
}

var errNotResumed = errors.New("a client came back with a ticket, and its session was not resumed")

func (l *link) resumed() bool {
	c, ok := l.Conn.(*tls.Conn)
	return ok && c.ConnectionState().DidResume
}

// forgetful makes clients ask for session tickets and keep none.
type forgetful struct{}

func (forgetful) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (forgetful) Put(string, *tls.ClientSessionState)        {}

// link is an open WebSocket.
type link struct {
	net.Conn        // to read and write through, until it is given to a loop
	wire     *wire  // beneath TLS
	early    []byte // what came right behind the handshake
}

func (l *link) Read(p []byte) (int, error) {
	if len(l.early) > 0 {
		n := copy(p, l.early)
		l.early = l.early[n:]
		return n, nil
	}
	return l.Conn.Read(p)
}

const request = "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://localhost\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n%s\r\n"

func bearer(token string) string { return "Authorization: Bearer " + token + "\r\n" }

var dialer = net.Dialer{Timeout: patience, KeepAlive: -1}

func (c client) dial(path string) (*link, error) {
	if c.open {
		return c.dialWith(path, "")
	}
	return c.dialWith(path, bearer(token))
}

// dialWith dials with further header fields.
func (c client) dialWith(path, fields string) (*link, error) {
	conn, err := dialer.Dial("tcp", c.addr)
	if err != nil {
		return nil, err
	}
	l := &link{Conn: conn, wire: &wire{Conn: conn}}
	if c.tls != nil {
		l.Conn = tls.Client(l.wire, c.tls)
	}
	if err := l.shake(path, fields); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return l, nil
}

var heads = sync.Pool{New: func() any { return new([4 << 10]byte) }}

func (l *link) shake(path, fields string) error {
	_ = l.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(l, request, path, fields); err != nil {
		return err
	}
	p := heads.Get().(*[4 << 10]byte)
	defer heads.Put(p)
	n := 0
	for {
		m, err := l.Conn.Read(p[n:])
		n += m
		if head, rest, ok := bytes.Cut(p[:n], []byte("\r\n\r\n")); ok {
			if !bytes.HasPrefix(head, []byte("HTTP/1.1 101")) {
				return fmt.Errorf("handshake: %.60q", head)
			}
			l.early = bytes.Clone(rest)
			return l.SetDeadline(time.Time{})
		}
		if err != nil {
			return fmt.Errorf("handshake: %w after %q", err, p[:n])
		}
	}
}

// dialMany opens n connections, a few at a time.
func (c client) dialMany(n int, path string) ([]*link, error) {
	links := make([]*link, n)
	var failed atomic.Pointer[error]
	var next atomic.Int64
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && failed.Load() == nil; i = int(next.Add(1)) - 1 {
				l, err := c.dial(path)
				if err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				links[i] = l
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		closeAll(links)
		return nil, fmt.Errorf("opening %d connections: %w", n, *err)
	}
	return links, nil
}

func closeAll(links []*link) {
	for _, l := range links {
		if l != nil {
			_ = l.wire.Close()
		}
	}
}

// echo sends a message and waits for it to come back.
func (l *link) echo(s *shape, st stamp) error {
	_ = l.SetDeadline(time.Now().Add(patience))
	if _, err := l.Write(s.stamped(st)); err != nil {
		return err
	}
	return l.expect(s, st)
}

// expect reads one message, which must have that stamp.
func (l *link) expect(s *shape, st stamp) error {
	var in inbox
	p := make([]byte, min(32<<10, len(s.header)+s.size))
	for got := 0; got < len(s.header)+s.size; {
		n, err := l.Read(p[:min(len(p), len(s.header)+s.size-got)])
		got += n
		if wrong := in.take(s, p[:n], func(back stamp) error { return same(back, st) }); wrong != nil {
			return wrong
		}
		if err != nil && got < len(s.header)+s.size {
			return err
		}
	}
	return nil
}

func same(got, want stamp) error {
	if got != want {
		return fmt.Errorf("%w: %v came for %v", errChanged, got, want)
	}
	return nil
}

// leave closes in the order that the RFC asks for: our close frame, the
// server's, and the end of the stream from there.
func (l *link) leave() error {
	defer l.wire.Close()
	if _, err := l.Write([]byte{0x80 | opClose, 0x82, 0, 0, 0, 0, 3, 232}); err != nil {
		return err
	}
	var p [64]byte
	for {
		switch _, err := l.Read(p[:]); {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			return err
		default:
			return nil
		}
	}
}

// wire is what TLS runs on: a connection at first, then a descriptor that a
// loop reads and writes.
type wire struct {
	net.Conn
	loop *loop
	sock *sock
	in   []byte // what the loop has read
}

// errNothing tells TLS to come back later: it keeps what it has.
var errNothing = os.ErrDeadlineExceeded

func (w *wire) Read(p []byte) (int, error) {
	if w.loop == nil {
		return w.Conn.Read(p)
	}
	if len(w.in) == 0 {
		return 0, errNothing
	}
	n := copy(p, w.in)
	w.in = w.in[n:]
	return n, nil
}

func (w *wire) Write(p []byte) (int, error) {
	if w.loop == nil {
		return w.Conn.Write(p)
	}
	return len(p), w.loop.sendRaw(w.sock, p)
}

// secured is the TLS of a socket.
type secured struct {
	tls  *tls.Conn
	wire *wire
}

// decrypt passes on what is in p, all of it.
func (c *secured) decrypt(l *loop, s *sock, p []byte) error {
	c.wire.in = p
	plain := plaintexts.Get().(*[16 << 10]byte)
	defer plaintexts.Put(plain)
	for {
		n, err := c.tls.Read(plain[:])
		if n > 0 {
			if err := l.received(s, plain[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, errNothing) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

var plaintexts = sync.Pool{New: func() any { return new([16 << 10]byte) }}

// give makes the link a socket of the loop.
func (l *link) give(to *loop, number uint32) error {
	s := &sock{number: number}
	raw, err := l.wire.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	var dupErr error
	err = raw.Control(func(fd uintptr) { s.fd, dupErr = syscall.Dup(int(fd)) })
	if err := errors.Join(err, dupErr); err != nil {
		return err
	}
	syscall.CloseOnExec(s.fd)
	_ = l.wire.Conn.Close()
	if t, ok := l.Conn.(*tls.Conn); ok {
		l.wire.loop, l.wire.sock = to, s
		s.secure = &secured{t, l.wire}
	}
	if err := to.add(s); err != nil {
		return err
	}
	if len(l.early) > 0 {
		if err := to.received(s, l.early); err != nil {
			return err
		}
	}
	if s.secure != nil {
		return s.secure.decrypt(to, s, nil) // what TLS has read already
	}
	return nil
}

var _ io.ReadWriter = (*wire)(nil)
