package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2Conn is a client's HTTP/2 connection. It writes the frames itself, because
// net/http sends no request with the field :protocol of RFC 8441.
type h2Conn struct {
	conn net.Conn

	writing sync.Mutex // held over each write, and over the choice of a stream's id
	framer  *http2.Framer
	block   bytes.Buffer
	fields  *hpack.Encoder // into block
	lastID  uint32

	mu        sync.Mutex
	changed   *sync.Cond // of what follows, and of each stream
	streams   map[uint32]*h2Stream
	window    int64 // what may still be sent
	first     int64 // the window of a new stream
	frameSize int
	refusal   error // why there can be no new stream
}

// h2Window is what the server may send ahead on a stream or the connection; it
// is the one before any settings.
const h2Window = 65535

// newH2Conn says hello and hears the server's settings, which must offer
// extended CONNECT.
func newH2Conn(conn net.Conn) (*h2Conn, error) {
	c := &h2Conn{
		conn: conn, framer: http2.NewFramer(conn, conn),
		streams: make(map[uint32]*h2Stream), window: h2Window, first: h2Window, frameSize: 16384,
	}
	c.changed = sync.NewCond(&c.mu)
	c.fields = hpack.NewEncoder(&c.block)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return nil, err
	}
	if err := c.framer.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0}); err != nil {
		return nil, err
	}
	f, err := c.framer.ReadFrame()
	if err != nil {
		return nil, err
	}
	settings, ok := f.(*http2.SettingsFrame)
	if !ok {
		return nil, fmt.Errorf("the server began with %v", f.Header())
	}
	if on, ok := settings.Value(http2.SettingEnableConnectProtocol); !ok || on != 1 {
		return nil, errors.New("the server does not offer extended CONNECT")
	}
	if err := c.settle(settings); err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	go c.read()
	return c, nil
}

// goAwayError is why the server takes no more streams.
type goAwayError struct {
	code   http2.ErrCode
	detail string
}

func (e goAwayError) Error() string { return fmt.Sprintf("GOAWAY with %v: %s", e.code, e.detail) }

// write makes one write of a frame at a time.
func (c *h2Conn) write(frame func(*http2.Framer) error) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return frame(c.framer)
}

// read handles what comes until the connection is lost.
func (c *h2Conn) read() {
	var err error
	for err == nil {
		err = c.readFrame()
	}
	if err == io.EOF { //nolint:errorlint // Read returns that where a stream ended well
		err = io.ErrUnexpectedEOF
	}
	_ = c.conn.Close()
	c.endFrom(0, fmt.Errorf("the HTTP/2 connection is lost: %w", err))
}

func (c *h2Conn) readFrame() error {
	f, err := c.framer.ReadFrame()
	if broken := (http2.StreamError{}); errors.As(err, &broken) {
		c.stream(broken.StreamID).reset(broken.Code)
		return nil
	}
	if err != nil {
		return err
	}
	return c.handle(f)
}

func (c *h2Conn) handle(f http2.Frame) error {
	s := c.stream(f.Header().StreamID)
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return c.settle(f)
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return c.write(func(w *http2.Framer) error { return w.WritePing(true, f.Data) })
		}
	case *http2.WindowUpdateFrame:
		c.update(func() {
			if f.StreamID == 0 {
				c.window += int64(f.Increment)
			} else {
				s.window += int64(f.Increment)
			}
		})
	case *http2.GoAwayFrame:
		c.endFrom(f.LastStreamID+1, goAwayError{f.ErrCode, string(f.DebugData())})
	case *http2.RSTStreamFrame:
		err := http2.StreamError{StreamID: f.StreamID, Code: f.ErrCode}
		c.update(func() { s.endLocked(err, err) })
	case *http2.MetaHeadersFrame:
		s.head(f)
	case *http2.DataFrame:
		return s.data(f)
	}
	return nil
}

// update changes the state and wakes whoever waits for that.
func (c *h2Conn) update(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	c.changed.Broadcast()
}

// settle applies settings and acknowledges them.
func (c *h2Conn) settle(f *http2.SettingsFrame) error {
	c.update(func() {
		if v, ok := f.Value(http2.SettingInitialWindowSize); ok {
			for _, s := range c.streams {
				s.window += int64(v) - c.first
			}
			c.first = int64(v)
		}
		if v, ok := f.Value(http2.SettingMaxFrameSize); ok {
			c.frameSize = int(v)
		}
	})
	return c.write(func(w *http2.Framer) error {
		if v, ok := f.Value(http2.SettingHeaderTableSize); ok {
			c.fields.SetMaxDynamicTableSizeLimit(v)
		}
		return w.WriteSettingsAck()
	})
}

// endFrom ends the streams from an id on, and that new ones are opened.
func (c *h2Conn) endFrom(id uint32, err error) {
	c.update(func() {
		if c.refusal == nil {
			c.refusal = err
		}
		for _, s := range c.streams {
			if s.id >= id {
				s.endLocked(err, err)
			}
		}
	})
}

// stream returns the open stream with the id, or else one that is over.
func (c *h2Conn) stream(id uint32) *h2Stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.streams[id]; s != nil {
		return s
	}
	return &h2Stream{c: c, id: id, readErr: net.ErrClosed, writeErr: net.ErrClosed}
}

// open sends the header of a request and waits for that of the answer. When ctx
// is done before that, the stream is reset.
func (c *h2Conn) open(ctx context.Context, pseudo []hpack.HeaderField, header http.Header) (*h2Stream, error) {
	s, err := c.ask(pseudo, header)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { s.reset(http2.ErrCodeCancel) })()
	c.mu.Lock()
	defer c.mu.Unlock()
	for s.header == nil && s.readErr == nil {
		c.changed.Wait()
	}
	if s.header == nil {
		return nil, s.readErr
	}
	return s, nil
}

// ask sends the header of a request.
func (c *h2Conn) ask(pseudo []hpack.HeaderField, header http.Header) (*h2Stream, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.lastID += 2
	s := &h2Stream{c: c, id: c.lastID - 1}
	if err := c.enter(s); err != nil {
		return nil, err
	}
	c.block.Reset()
	for _, field := range append(pseudo, h2Fields(header)...) {
		if err := c.fields.WriteField(field); err != nil {
			return nil, err
		}
	}
	first := c.block.Next(16384)
	err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: s.id, BlockFragment: first, EndHeaders: c.block.Len() == 0})
	for err == nil && c.block.Len() > 0 {
		more := c.block.Next(16384)
		err = c.framer.WriteContinuation(s.id, c.block.Len() == 0, more)
	}
	return s, err
}

func (c *h2Conn) enter(s *h2Stream) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refusal == nil {
		s.window = c.first
		c.streams[s.id] = s
	}
	return c.refusal
}

// h2Fields writes a header as HTTP/2 does: cookies come one by one.
func h2Fields(header http.Header) (fields []hpack.HeaderField) {
	for name, values := range header {
		name = strings.ToLower(name)
		if name == "cookie" {
			values = strings.Split(strings.Join(values, "; "), "; ")
		}
		for _, value := range values {
			fields = append(fields, hpack.HeaderField{Name: name, Value: value})
		}
	}
	return fields
}
