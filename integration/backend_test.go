package integration

import (
	"bufio"
	"bytes"
	"crypto/sha1" // #nosec G505 -- RFC 6455 asks for it
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// backend is an upstream on a raw TCP socket. It records every byte that it
// receives and answers handshakes by a script; plain requests get an ordinary
// answer that names the backend.
type backend struct {
	addr   string
	script script
	tls    *tls.Config

	mu       sync.Mutex // protects the following
	ln       net.Listener
	conns    map[*backendConn]bool
	seen     []*backendConn // in order of their first request
	accepted int
	onDial   func(net.Conn) bool // when set, false means: serve this connection no further
	onGet    func(*backendConn)  // when set, called before a plain request is answered
	health   http.Handler        // when set, answers /health
	live     int                 // WebSockets open now
	peak     int                 // most WebSockets at once
	opened   int                 // WebSockets ever opened

	// requests receives the raw head of every request.
	requests chan string
	// upgraded receives the connections that the script hands over.
	upgraded chan *backendConn
	done     sync.WaitGroup
}

// script serves a connection on which a handshake came in.
type script func(*backendConn)

func newBackend(t testing.TB, s script) *backend {
	t.Helper()
	b := &backend{script: s}
	b.listen(t, "127.0.0.1:0")
	return b
}

func newTLSBackend(t testing.TB, s script) *backend {
	t.Helper()
	b := &backend{script: s, tls: &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"http/1.1"}}}
	b.listen(t, "127.0.0.1:0")
	return b
}

// newUnixBackend listens on a unix socket.
func newUnixBackend(t testing.TB, s script) *backend {
	t.Helper()
	dir, err := os.MkdirTemp(workDir, "")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", filepath.Join(dir, "up"))
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{script: s, ln: ln, conns: map[*backendConn]bool{}, addr: "unix/" + filepath.Join(dir, "up"),
		requests: make(chan string, 10_000), upgraded: make(chan *backendConn, 10_000)}
	b.done.Add(1)
	go b.acceptConns(ln)
	t.Cleanup(b.kill)
	return b
}

func (b *backend) listen(t testing.TB, addr string) {
	t.Helper()
	b.conns = map[*backendConn]bool{}
	b.requests = make(chan string, 10_000)
	b.upgraded = make(chan *backendConn, 10_000)
	if err := b.up(addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.kill)
}

// up starts listening, for the first time or again after kill.
func (b *backend) up(addr string) error {
	ln, err := listenAnew(addr)
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.ln = ln
	b.mu.Unlock()
	if b.addr == "" { // before anyone comes, for strangers may at once
		b.addr = ln.Addr().String()
	}
	b.done.Add(1)
	go b.acceptConns(ln)
	return nil
}

// listened has the addresses that backends have had: what counts against one of
// them does so for as long as the process lives, and would for the next as well.
var listened sync.Map

// listenAnew listens where no backend has before, if the port is for the system to
// choose.
func listenAnew(addr string) (net.Listener, error) {
	for {
		ln, err := net.Listen("tcp", addr)
		if err != nil || !strings.HasSuffix(addr, ":0") {
			return ln, err
		}
		if _, before := listened.LoadOrStore(ln.Addr().String(), true); !before {
			return ln, nil
		}
		_ = ln.Close()
	}
}

// revive listens on the same address again.
func (b *backend) revive(t testing.TB) {
	t.Helper()
	if !poll(patience, func() bool { return b.up(b.addr) == nil }) {
		t.Fatalf("cannot listen on %s again", b.addr)
	}
}

// kill closes the listener and resets every connection, as a crash would.
func (b *backend) kill() {
	b.mu.Lock()
	_ = b.ln.Close()
	for c := range b.conns {
		c.reset()
	}
	b.mu.Unlock()
	b.done.Wait()
}

func (b *backend) acceptConns(ln net.Listener) {
	defer b.done.Done()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		b.accepted++
		onDial := b.onDial
		b.mu.Unlock()
		if onDial != nil && !onDial(conn) {
			continue
		}
		if b.tls != nil {
			conn = tls.Server(conn, b.tls)
		}
		c := &backendConn{Conn: conn, b: b, closed: make(chan struct{})}
		c.br = bufio.NewReaderSize(io.TeeReader(conn, &c.received), 32<<10)
		b.mu.Lock()
		b.conns[c] = true
		b.mu.Unlock()
		b.done.Add(1)
		go b.serve(c)
	}
}

func (b *backend) serve(c *backendConn) {
	defer b.done.Done()
	defer func() {
		_ = c.Close()
		b.mu.Lock()
		delete(b.conns, c)
		b.mu.Unlock()
	}()
	for first := true; c.readHead() == nil; first = false {
		b.mu.Lock()
		if first {
			b.seen = append(b.seen, c)
		}
		b.mu.Unlock()
		b.requests <- c.head
		if c.req.Header.Get("Upgrade") != "" {
			b.script(c)
			return
		}
		if c.answerPlain() != nil {
			return
		}
	}
}

// count reads one of the counters under the lock.
func (b *backend) count(counter *int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return *counter
}

// set changes how the backend behaves, while it may be serving.
func (b *backend) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

// idle says whether no connection to the backend is open.
func (b *backend) idle() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.conns) == 0
}

// everSeen returns the connections that a request ever came on.
func (b *backend) everSeen() []*backendConn {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.seen)
}

// receivedBytes is everything that ever reached the backend.
func (b *backend) receivedBytes() string {
	var all strings.Builder
	for _, c := range b.everSeen() {
		all.Write(c.received.bytes())
	}
	return all.String()
}

// backendConn is a connection to a backend.
type backendConn struct {
	net.Conn
	b        *backend
	br       *bufio.Reader
	received recording
	head     string        // the last request, as it came
	req      *http.Request // the last request, parsed

	closeOnce sync.Once
	closed    chan struct{} // closed by Close
}

// Close ends the connection; the script may be waiting for it.
func (c *backendConn) Close() error {
	err := net.ErrClosed
	c.closeOnce.Do(func() {
		close(c.closed)
		err = c.Conn.Close()
	})
	return err
}

// reset breaks the connection off.
func (c *backendConn) reset() {
	lingerNot(c.Conn)
	_ = c.Close()
}

// writeUntilTaken writes all of p, and tells whenever nothing of it was taken
// for a while.
func (c *backendConn) writeUntilTaken(p []byte, stuck func()) error {
	defer c.SetWriteDeadline(time.Time{}) //nolint:errcheck // the next write tells
	for len(p) > 0 {
		_ = c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := c.Write(p)
		p = p[n:]
		if errors.Is(err, os.ErrDeadlineExceeded) {
			stuck()
		} else if err != nil {
			return err
		}
	}
	return nil
}

// closeWrite ends our half of the connection.
func (c *backendConn) closeWrite() error {
	return c.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

// readHead reads a request's head byte by byte up to the empty line, so that
// head is exactly what came.
func (c *backendConn) readHead() error {
	var head bytes.Buffer
	for !bytes.HasSuffix(head.Bytes(), []byte("\r\n\r\n")) {
		line, err := c.br.ReadSlice('\n')
		if err != nil {
			return err
		}
		head.Write(line)
	}
	c.head = head.String()
	var err error
	c.req, err = http.ReadRequest(bufio.NewReader(io.MultiReader(&head, c.br)))
	return err
}

// headerLines returns the values of a request field whose name is spelled
// exactly so, in the order they came.
func headerLines(head, name string) []string {
	var values []string
	for line := range strings.Lines(head) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			values = append(values, strings.TrimSpace(value))
		}
	}
	return values
}

// answerPlain answers a plain request and keeps the connection open.
func (c *backendConn) answerPlain() error {
	if _, err := io.Copy(io.Discard, c.req.Body); err != nil {
		return err
	}
	c.b.mu.Lock()
	onGet, health := c.b.onGet, c.b.health
	c.b.mu.Unlock()
	if health != nil && c.req.URL.Path == "/health" {
		w := httptest.NewRecorder()
		health.ServeHTTP(w, c.req)
		return w.Result().Write(c)
	}
	if onGet != nil {
		onGet(c)
	}
	return c.reply("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nX-Backend: {addr}\r\n\r\n" + "plain from " + c.b.addr)
}

// reply writes an answer: {accept} stands for the right Sec-WebSocket-Accept,
// {length} for the length of the body, {addr} for the backend's address.
func (c *backendConn) reply(s string) error {
	_, body, _ := strings.Cut(s, "\r\n\r\n")
	s = strings.NewReplacer(
		"{accept}", acceptKey(c.req.Header.Get("Sec-WebSocket-Key")),
		"{length}", strconv.Itoa(len(body)),
		"{addr}", c.b.addr,
	).Replace(s)
	_, err := io.WriteString(c, s)
	return err
}

func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // #nosec G401 -- RFC 6455
	return base64.StdEncoding.EncodeToString(sum[:])
}

// accept answers the handshake with 101, further header lines, and the first
// protocol that was offered.
func (c *backendConn) accept(lines ...string) error {
	if offered := c.req.Header.Get("Sec-WebSocket-Protocol"); offered != "" {
		first, _, _ := strings.Cut(offered, ",")
		lines = append(lines, "Sec-WebSocket-Protocol: "+strings.TrimSpace(first))
	}
	c.b.mu.Lock()
	c.b.live++
	c.b.opened++
	c.b.peak = max(c.b.peak, c.b.live)
	c.b.mu.Unlock()
	extra := ""
	for _, line := range lines {
		extra += line + "\r\n"
	}
	err := c.reply("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: {accept}\r\n" + extra + "\r\n")
	if err != nil {
		c.end()
	}
	return err
}

// end notes that a WebSocket that accept counted is over.
func (c *backendConn) end() {
	c.b.mu.Lock()
	c.b.live--
	c.b.mu.Unlock()
}

// readFrame reads a frame, waiting no longer than patience.
func (c *backendConn) readFrame() (frame, error) {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	return readFrame(c.br)
}

func (c *backendConn) write(frames ...frame) error {
	_, err := c.Write(upstreamBytes(frames...))
	return err
}

// recording is a buffer that one goroutine fills and others look at.
type recording struct {
	mu  sync.Mutex // protects buf
	buf []byte
}

func (r *recording) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buf = append(r.buf, p...)
	return len(p), nil
}

func (r *recording) bytes() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.buf)
}

// reset closes a connection so that the other side sees it break off.
func reset(conn net.Conn) {
	lingerNot(conn)
	_ = conn.Close()
}

// lingerNot makes a later close send RST.
func lingerNot(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if t, ok := conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
}
