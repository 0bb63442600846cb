package upgrade

import (
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// stream makes the request's stream the connection (RFC 8441, RFC 9220). The handler
// has to stay as long as the stream lives.
//
// Caddy's wrappers around the request are passed by, as by a hijack. Their timeouts
// would end a stream whose client is silent for a minute, and a WebSocket may be silent
// for as long as it likes; over HTTP/2 they set a timer for each read and write, and a
// timer that is set as the stream ends keeps the stream in memory, and with it the
// server and the configuration. Deadlines of writes are the relay's alone.
func stream(w http.ResponseWriter, r *http.Request, writeTimeout time.Duration) (Side, error) {
	rd, wr := caddyhttp.IdleTimeoutsFromContext(r.Context())
	if wr != nil {
		wr.Override(writeTimeout, 0, 0) // a rate counts from the beginning of the request
	}
	w.WriteHeader(http.StatusOK)
	if err := http.NewResponseController(w).Flush(); err != nil {
		return Side{}, err
	}
	base := Innermost(w)
	rc := http.NewResponseController(base)
	_ = rc.SetReadDeadline(time.Time{})
	_ = rc.SetWriteDeadline(time.Time{}) // that of the flush
	s := &streamConn{body: r.Body, w: base, flush: rc.Flush, setDeadline: rc.SetWriteDeadline, shared: sharedConnOf(r.Context())}
	if rd != nil {
		s.body = rd.ReadCloser
	}
	if h3, ok := base.(http3.HTTPStreamer); ok {
		return s.overQUIC(h3.HTTPStream()), nil
	}
	return Side{Conn: s}, nil
}

// overQUIC has the stream of HTTP/3 kept alive. The End of its Side ends the stream,
// because the server leaves that to the handler that took the stream.
func (s *streamConn) overQUIC(str *http3.Stream) Side {
	s.w, s.flush, s.setDeadline = str, nil, str.SetWriteDeadline
	s.nudge = func() { _ = str.TryWriteAll(nil) }
	awake.add(s)
	return Side{Conn: s, End: func() {
		awake.remove(s)
		str.CancelRead(quic.StreamErrorCode(http3.ErrCodeNoError))
		if s.broken() != nil {
			// A stream that ends in a frame of HTTP/3 would cost the client its connection.
			str.CancelWrite(quic.StreamErrorCode(http3.ErrCodeInternalError))
			return
		}
		_ = str.Close()
	}}
}

// streamConn is a stream of HTTP/2 or HTTP/3 as a connection.
type streamConn struct {
	body        io.ReadCloser
	w           io.Writer
	flush       func() error // nil where w keeps nothing back
	setDeadline func(time.Time) error
	nudge       func()   // sends the peer something without meaning
	shared      net.Conn // with other streams; nil where it is not known

	mu      sync.Mutex // guards what follows and the deadline, and lets only one goroutine write
	writing bool
	closed  bool
	failed  error // of a write, after which nothing may be written
}

// Read implements io.Reader.
func (s *streamConn) Read(p []byte) (int, error) { return s.body.Read(p) }

// Write implements io.Writer. The bytes are on their way when it returns. A write that
// has failed is the last: over HTTP/3, the next would begin a DATA frame within the one
// that is not complete, and over HTTP/2 the stream is reset.
func (s *streamConn) Write(p []byte) (n int, err error) {
	if err := s.beginWriting(); err != nil {
		return 0, err
	}
	defer func() { s.endWriting(err) }()
	n, err = s.w.Write(p)
	if err == nil && s.flush != nil {
		err = s.flush()
	}
	return n, err
}

func (s *streamConn) beginWriting() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return net.ErrClosed
	case s.failed != nil:
		return s.failed
	}
	s.writing = true
	return nil
}

func (s *streamConn) endWriting(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = false
	s.failed = err
}

// broken says why nothing more can be written, if that is so.
func (s *streamConn) broken() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// SetWriteDeadline implements relay.Conn. The deadline that Close sets is the last.
func (s *streamConn) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	return s.setDeadline(t)
}

// Close ends reads, and a write that is stuck. The stream itself ends when the handler
// returns, after all bytes that were written.
func (s *streamConn) Close() error {
	s.mu.Lock()
	s.closed = true
	if s.writing {
		_ = s.setDeadline(time.Unix(1, 0))
	}
	s.mu.Unlock()
	return s.body.Close()
}

// keepAlive nudges the peer, unless a write is under way. It does not wait, and keeps a
// panic from the other streams.
func (s *streamConn) keepAlive() {
	defer panics.Contain()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.writing && !s.closed && s.failed == nil {
		s.nudge()
	}
}

// keepAliveEvery is how often the peers of quiet streams over HTTP/3 are nudged.
// QUIC ends a connection over which nothing was heard for as long as the shorter
// of both sides' limits says; that of Caddy's server is 30 seconds.
const keepAliveEvery = 10 * time.Second

// awake keeps the streams of the process that are over HTTP/3 alive, as the kernel
// does with connections over TCP.
var awake = keeper{every: keepAliveEvery, streams: make(map[*streamConn]struct{})}

// keeper has one timer for all streams, and none while there are none.
type keeper struct {
	every time.Duration

	mu      sync.Mutex // guards what follows
	streams map[*streamConn]struct{}
	timer   *time.Timer
}

func (k *keeper) add(s *streamConn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.streams[s] = struct{}{}
	if k.timer == nil {
		k.timer = time.AfterFunc(k.every, k.turn)
	}
}

func (k *keeper) remove(s *streamConn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.streams, s)
}

// turn nudges the peers of all streams.
func (k *keeper) turn() {
	defer panics.Contain()
	for _, s := range k.next() {
		s.keepAlive()
	}
}

// next lists the streams, and sets the timer for the next turn if there are any.
func (k *keeper) next() []*streamConn {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.streams) == 0 {
		k.timer = nil
		return nil
	}
	k.timer.Reset(k.every)
	return slices.Collect(maps.Keys(k.streams))
}

// Interface guards
var _ relay.Conn = (*streamConn)(nil)
