package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// doorH2 is a connection of HTTP/2, on which WebSockets are opened as RFC 8441
// says. It writes its frames itself, for net/http has no say in this.
type doorH2 struct {
	conn   *tls.Conn
	framer *http2.Framer // reading belongs to one goroutine

	mu      sync.Mutex // guards what follows, and writing
	moved   *sync.Cond // a window has grown, or something has ended
	window  int64      // that the server has left for all streams
	initial int64      // window of a stream
	next    uint32
	encoded bytes.Buffer
	encoder *hpack.Encoder
	streams map[uint32]*lineH2
	failed  error
}

// RFC 9113 gives every connection and stream so much of a window, and frames this size,
// unless there are settings.
const (
	initialWindow = 1<<16 - 1
	largestFrame  = 1 << 14
)

func openH2(address string) (*doorH2, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: clientPatience}, "tcp", address, clientTLS("h2"))
	if err != nil {
		return nil, err
	}
	d := &doorH2{
		conn: conn, framer: http2.NewFramer(conn, conn),
		window: initialWindow, initial: initialWindow, next: 1, streams: make(map[uint32]*lineH2),
	}
	d.moved = sync.NewCond(&d.mu)
	d.encoder = hpack.NewEncoder(&d.encoded)
	d.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = conn.SetWriteDeadline(time.Now().Add(clientPatience))
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		_ = conn.Close()
		return nil, err
	}
	if err := d.framer.WriteSettings(); err != nil {
		_ = conn.Close()
		return nil, err
	}
	_ = conn.SetWriteDeadline(time.Time{})
	go d.read()
	return d, nil
}

func (d *doorH2) close() { _ = d.conn.Close() }

func (d *doorH2) knock(target string, cut int, _ []byte) (line, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed != nil {
		return nil, d.failed
	}
	l := &lineH2{door: d, id: d.next, window: d.initial, status: make(chan int, 1), in: newMailbox()}
	d.next += 2
	d.streams[l.id] = l
	d.encoded.Reset()
	for _, field := range [][2]string{
		{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "https"},
		{":authority", hostOf(d.conn.RemoteAddr().String())}, {":path", target}, {"sec-websocket-version", "13"},
	} {
		if err := d.encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			return nil, err
		}
	}
	block := d.encoded.Bytes()
	first := len(block)
	if cut != never {
		first = min(cut, len(block)/2)
	}
	if err := d.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: l.id, BlockFragment: block[:first], EndHeaders: first == len(block)}); err != nil {
		return nil, err
	}
	if first < len(block) { // the rest must follow, because other streams share the connection
		if err := d.framer.WriteContinuation(l.id, true, block[first:]); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// read hands out what comes.
func (d *doorH2) read() {
	for {
		f, err := d.framer.ReadFrame()
		if err == nil {
			err = d.handle(f)
		}
		if _, one := errors.AsType[http2.StreamError](err); one {
			continue
		}
		if err != nil {
			d.fail(err)
			return
		}
	}
}

func (d *doorH2) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = fmt.Errorf("the connection is lost: %w", err)
	for _, l := range d.streams {
		l.in.end(d.failed)
	}
	d.moved.Broadcast()
}

// handle takes a frame. What it cannot write is no error: a server that has gone may have
// left more to read.
func (d *doorH2) handle(f http2.Frame) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.streams[f.Header().StreamID]
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			d.settle(f)
			_ = d.framer.WriteSettingsAck()
		}
	case *http2.WindowUpdateFrame:
		switch {
		case f.StreamID == 0:
			d.window += int64(f.Increment)
		case l != nil:
			l.window += int64(f.Increment)
		}
		d.moved.Broadcast()
	case *http2.PingFrame:
		if !f.IsAck() {
			_ = d.framer.WritePing(true, f.Data)
		}
	case *http2.MetaHeadersFrame:
		return l.headers(f)
	case *http2.DataFrame:
		l.data(f)
	case *http2.RSTStreamFrame:
		if l != nil {
			l.over = true
			l.in.end(fmt.Errorf("reset with %s", f.ErrCode))
			d.moved.Broadcast()
		}
	}
	return nil
}

// settle takes over what the server has set.
func (d *doorH2) settle(f *http2.SettingsFrame) {
	initial, ok := f.Value(http2.SettingInitialWindowSize)
	if !ok {
		return
	}
	for _, l := range d.streams {
		l.window += int64(initial) - d.initial
	}
	d.initial = int64(initial)
	d.moved.Broadcast()
}

// lineH2 is a stream.
type lineH2 struct {
	door   *doorH2
	id     uint32
	status chan int
	in     *mailbox

	// Guarded by the door's mu.
	window int64 // that the server has left
	taken  int   // bytes read since the server's window was last made larger
	left   bool
	over   bool // reset by the server
}

func (l *lineH2) headers(f *http2.MetaHeadersFrame) error {
	status, err := strconv.Atoi(f.PseudoValue("status"))
	if l == nil || err != nil || status < 200 {
		return err
	}
	l.status <- status
	if f.StreamEnded() {
		l.in.end(io.EOF)
	}
	return nil
}

func (l *lineH2) data(f *http2.DataFrame) {
	d, n := l.door, f.Header().Length
	l.in.put(f.Data())
	if f.StreamEnded() {
		l.in.end(io.EOF)
	}
	if n > 0 {
		_ = d.framer.WriteWindowUpdate(0, n) // that of the stream waits until it is read
	}
}

func (l *lineH2) answer(cut int) (int, error) {
	select {
	case status := <-l.status:
		return status, nil
	case <-l.in.over:
	}
	select {
	case status := <-l.status:
		return status, nil
	default:
		return 0, l.in.err
	}
}

func (l *lineH2) Read(p []byte) (int, error) {
	n, err := l.in.Read(p)
	d := l.door
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.taken += n; l.taken < initialWindow/4 || l.left || l.over {
		return n, err
	}
	_ = d.framer.WriteWindowUpdate(l.id, uint32(l.taken)) // who reads next sees what failed
	l.taken = 0
	return n, err
}

func (l *lineH2) Write(p []byte) (n int, err error) {
	d := l.door
	d.mu.Lock()
	defer d.mu.Unlock()
	for n < len(p) {
		for min(d.window, l.window) <= 0 && !l.left && !l.over && d.failed == nil {
			d.moved.Wait()
		}
		if l.left || l.over || d.failed != nil {
			return n, net.ErrClosed
		}
		size := int(min(d.window, l.window, largestFrame, int64(len(p)-n)))
		d.window -= int64(size)
		l.window -= int64(size)
		if err := d.framer.WriteData(l.id, false, p[n:n+size]); err != nil {
			return n, err
		}
		n += size
	}
	return n, nil
}

// leave ends the stream; byEnd is like byHalf, where what comes is ignored.
func (l *lineH2) leave(how string) {
	l.door.mu.Lock()
	defer l.door.mu.Unlock()
	if how == byReset {
		l.in.end(net.ErrClosed)
	}
	defer l.door.moved.Broadcast()
	if l.left && how != byReset {
		return
	}
	l.left = true
	if how == byReset {
		_ = l.door.framer.WriteRSTStream(l.id, http2.ErrCodeCancel)
	} else {
		_ = l.door.framer.WriteData(l.id, true, nil)
	}
}

// mailbox keeps what came until it is read.
type mailbox struct {
	mu   sync.Mutex // guards what follows
	cond *sync.Cond
	held bytes.Buffer
	err  error
	over chan struct{} // closed when err is set
}

func newMailbox() *mailbox {
	m := &mailbox{over: make(chan struct{})}
	m.cond = sync.NewCond(&m.mu)
	return m
}

func (m *mailbox) put(p []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held.Write(p)
	m.cond.Broadcast()
}

// end says that nothing more will come.
func (m *mailbox) end(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.err = err
		close(m.over)
		m.cond.Broadcast()
	}
}

// Read implements io.Reader.
func (m *mailbox) Read(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.held.Len() == 0 {
		if m.err != nil {
			return 0, m.err
		}
		m.cond.Wait()
	}
	return m.held.Read(p)
}
