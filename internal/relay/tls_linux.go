//go:build !noloop && !386

package relay

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

// TLS on the loop. crypto/tls reads from its conn when it needs a record, and would
// wait there. So the loop reads from the socket itself, puts the bytes where crypto/tls
// keeps what it has read, and asks for plaintext only when a whole record is there.
// What crypto/tls writes is collected, and sent in one go.
//
// crypto/tls has no door for this (see insides). Where crypto/tls is not as expected,
// goroutines relay TLS.

// rawSize is how much of a side's records is read at once, at most.
const rawSize = chunkSize / 2

// The sizes of records (RFC 8446, section 5).
const (
	recordHeaderSize = 5
	maxRecord        = recordHeaderSize + 16<<10 + 2<<10 // TLS 1.2's, the larger one
)

// session is the TLS of a side. It belongs to the loop's goroutine.
type session struct {
	conn *tls.Conn
	raw  *bytes.Buffer // of conn: the beginning of a record, or nothing
	lent *buffer       // that raw lies in, if any
	out  []byte        // that conn has written
	end  error         // why no more will come; nil while more may
	torn bool          // something of out was dropped, and nothing can follow that
}

var (
	errNothing = nothingError{}
	errFull    = errors.New("relay: TLS has more to say than its peer takes")
)

// nothingError is an error of a read that crypto/tls does not take for the end.
type nothingError struct{}

// Error implements net.Error.
func (nothingError) Error() string { return "relay: no whole record has come" }

// Timeout implements net.Error: the error is not for good.
func (nothingError) Timeout() bool { return true }

// Temporary implements net.Error: the error is not for good.
func (nothingError) Temporary() bool { return true }

// renegotiates reports whether the peer of a session may ask for another handshake.
func renegotiates(c *tls.Conn) bool {
	settings := *inside[*tls.Config](c, insides.settings)
	return settings != nil && settings.Renegotiation != tls.RenegotiateNever
}

// newSession takes over a connection whose handshake is complete.
func newSession(c *tls.Conn, at layout) *session {
	s := &session{conn: c, raw: inside[bytes.Buffer](c, at.raw)}
	*inside[net.Conn](c, at.conn) = s
	if hand := inside[bytes.Buffer](c, at.hand); hand.Len() == 0 {
		*hand = bytes.Buffer{}
	}
	return s
}

// noteEnd keeps an error until all that came before is passed on.
func (s *session) noteEnd(err error) {
	if err != nil && !errors.Is(err, errNothing) {
		s.end = err
	}
}

// whole reports whether crypto/tls need not wait for more to get a record, or to refuse
// one.
func (s *session) whole() bool {
	p := s.raw.Bytes()
	if len(p) < recordHeaderSize {
		return false
	}
	size := recordHeaderSize + int(p[3])<<8 + int(p[4])
	return len(p) >= size || size > maxRecord || p[1] != tls.VersionTLS12>>8
}

// held returns how much plaintext crypto/tls has that it was not asked for. It may lie
// in the memory of raw, and has to be taken out before that is used for another
// session.
func (s *session) held() int { return inside[bytes.Reader](s.conn, insides.input).Len() }

// load moves the beginning of a record to where the record's rest is going to be read,
// and returns the length of that beginning.
func (s *session) load(to []byte) int {
	n := copy(to, s.raw.Bytes())
	if s.lent != nil {
		sharedBuffers.put(s.lent)
		s.lent = nil
	}
	return n
}

// store keeps the beginning of a record, and only that, until there is more.
func (s *session) store() {
	left := s.raw.Bytes()
	switch {
	case len(left) == 0 || s.end != nil:
		*s.raw = bytes.Buffer{}
	case len(left) <= smallSize:
		*s.raw = *bytes.NewBuffer(bytes.Clone(left))
	default:
		s.lent = sharedBuffers.get()
		*s.raw = *bytes.NewBuffer(s.lent[:copy(s.lent[:], left)])
	}
}

// readAhead makes what crypto/tls has read from the socket already the last of what came
// early. crypto/tls is asked even if no whole record is there: it may have read the end
// of the stream, of which the socket has nothing more to tell.
func (l *loop) readAhead(from *side) {
	s := from.socket.tls
	*s.raw = *bytes.NewBuffer(l.raw[:copy(l.raw[:], s.raw.Bytes())]) // has room, so that asking allocates none
	from.kept = keep(append(from.waiting(), l.open(from, 0)...))
	if s.end == nil {
		_, err := s.conn.Read(l.chunk.data)
		s.noteEnd(err)
	}
	s.store()
}

// receiveRecords reads once from a side and passes on what the records hold that are
// whole then.
func (l *loop) receiveRecords(r *Relay, from, to *side) {
	s := from.socket.tls
	most := min(l.readSize, rawSize-maxRecord, r.mostAtOnce(from))
	raw := l.raw[:s.raw.Len()+l.bound(from, to, most)]
	had := s.load(raw)
	n, errno := receive(from.socket.fd, raw[had:])
	*s.raw = *bytes.NewBuffer(raw[:had+n])
	short := copy(l.chunk.data, from.waiting())
	p := l.open(from, short)
	switch {
	case s.end != nil, errno == syscall.EAGAIN:
	case errno != 0:
		s.end = errno
	case n == 0 && had == 0:
		s.end = io.EOF
	case n == 0:
		s.end = io.ErrUnexpectedEOF
	default:
		from.socket.bulk = had+n == len(raw)
		l.again = l.again || from.socket.bulk
	}
	s.store()
	if from.socket.unsent != nil {
		r.place.touched = true
	}
	if len(p) > short {
		l.passNew(r, from, to, p)
	}
	l.passEarly(r, from, to)
}

// open returns what the whole records of a side hold, behind the first n bytes of the
// loop's chunk, where it puts them.
func (l *loop) open(from *side, n int) []byte {
	s := from.socket.tls
	l.collect(from)
	for s.end == nil && (s.whole() || s.held() > 0) {
		had := s.raw.Len() + s.held()
		got, err := s.conn.Read(l.chunk.data[n:])
		n += got
		s.noteEnd(err)
		if s.end == nil && s.raw.Len()+s.held() >= had {
			s.end = io.ErrNoProgress // else the loop would try for ever
		}
	}
	_ = l.sendCollected(from) // alerts, and answers to key updates; a socket that has failed also ends
	return l.chunk.data[:n]
}

// seal writes p to a side, in records.
func (l *loop) seal(to *side, p []byte) error {
	l.collect(to)
	_, err := to.socket.tls.conn.Write(p)
	return errors.Join(err, l.sendCollected(to))
}

// sealEnd tells a side that nothing will follow (RFC 8446, section 6.1), if the side can
// be told at once. If not, the side finds out by the end of the stream.
func (l *loop) sealEnd(s *side) {
	if s.socket.unsent != nil {
		return
	}
	l.sealLast(s)
}

// sealLast writes the alert that nothing will follow.
func (l *loop) sealLast(s *side) {
	l.collect(s)
	_ = s.socket.tls.conn.CloseWrite()
	_ = l.sendCollected(s)
}

// collect lets crypto/tls write behind what a side has not taken yet.
func (l *loop) collect(to *side) {
	to.socket.tls.out = l.out.data[:0]
	if c := to.socket.unsent; c != nil {
		to.socket.tls.out = c.unsent
	}
}

// sendCollected sends what crypto/tls has written since collect. What the side does not
// take becomes the side's unsent.
func (l *loop) sendCollected(to *side) error {
	out := to.socket.tls.out
	to.socket.tls.out = nil
	switch c := to.socket.unsent; {
	case to.socket.tls.torn:
		return nil
	case c != nil:
		c.unsent = out
		to.held.Store(int32(len(out)))
		return nil
	case len(out) == 0:
		return nil
	}
	sent, errno := send(to.socket.fd, out)
	if errno == 0 && sent < len(out) {
		l.own(to, &l.out, out[sent:])
	}
	return errorOf(errno)
}

// Read implements net.Conn. There is nothing but what the loop has put into raw.
func (s *session) Read([]byte) (int, error) { return 0, errNothing }

// Write implements net.Conn. It fails if the peer makes crypto/tls answer, but does not
// read the answers.
func (s *session) Write(p []byte) (int, error) {
	if len(p) > cap(s.out)-len(s.out) {
		return 0, errFull
	}
	s.out = append(s.out, p...)
	return len(p), nil
}

// Close implements net.Conn. The loop closes the descriptor itself.
func (s *session) Close() error { return nil }

// noAddress is the address of either end of a session.
var noAddress net.Addr = new(net.TCPAddr)

// LocalAddr implements net.Conn.
func (s *session) LocalAddr() net.Addr { return noAddress }

// RemoteAddr implements net.Conn. crypto/tls asks for it when a ticket for the next
// session comes and the server's name is not known. There it finds no use, because
// that session is looked for under the address of its own conn.
func (s *session) RemoteAddr() net.Addr { return noAddress }

// SetDeadline implements net.Conn. Nothing here waits.
func (s *session) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn. Nothing here waits.
func (s *session) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn. Nothing here waits.
func (s *session) SetWriteDeadline(time.Time) error { return nil }
