package integration

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"

	"golang.org/x/net/http2"
)

// h2Stream is one request and its answer. The lock of the connection is held
// over what changes.
type h2Stream struct {
	c  *h2Conn
	id uint32

	status            int
	header            http.Header
	received          []byte
	window            int64 // what may still be sent
	readErr, writeErr error // set when that direction has ended
}

// endLocked ends the directions for which there is an error.
func (s *h2Stream) endLocked(read, write error) {
	if s.readErr == nil {
		s.readErr = read
	}
	if s.writeErr == nil {
		s.writeErr = write
	}
	if s.readErr != nil && s.writeErr != nil {
		delete(s.c.streams, s.id)
	}
}

// head takes the header of the answer, or what follows it.
func (s *h2Stream) head(f *http2.MetaHeadersFrame) {
	s.c.update(func() {
		status, _ := strconv.Atoi(f.PseudoValue("status"))
		if s.header == nil && status >= 200 {
			s.status, s.header = status, make(http.Header)
			for _, field := range f.RegularFields() {
				s.header.Add(field.Name, field.Value)
			}
		}
		if f.StreamEnded() {
			s.endLocked(io.EOF, nil)
		}
	})
}

// data keeps what came until somebody reads it, and only then gives back the
// window. What nobody will read gives back the connection's at once, and so does
// padding.
func (s *h2Stream) data(f *http2.DataFrame) error {
	unread := int(f.Length)
	s.c.update(func() {
		if s.readErr == nil {
			s.received = append(s.received, f.Data()...)
			unread -= len(f.Data())
		}
		if f.StreamEnded() {
			s.endLocked(io.EOF, nil)
		}
	})
	return s.giveBack(unread)
}

// giveBack lets the server send n bytes more.
func (s *h2Stream) giveBack(n int) error {
	if n == 0 {
		return nil
	}
	s.c.mu.Lock()
	open := s.readErr == nil
	s.c.mu.Unlock()
	return s.c.write(func(w *http2.Framer) error {
		if open {
			if err := w.WriteWindowUpdate(s.id, uint32(n)); err != nil {
				return err
			}
		}
		return w.WriteWindowUpdate(0, uint32(n))
	})
}

// Read returns what came, then how the stream ended.
func (s *h2Stream) Read(p []byte) (int, error) {
	s.c.mu.Lock()
	for len(s.received) == 0 && s.readErr == nil {
		s.c.changed.Wait()
	}
	n := copy(p, s.received)
	s.received = s.received[n:]
	err := s.readErr
	s.c.mu.Unlock()
	if n == 0 {
		return 0, err
	}
	_ = s.giveBack(n) // if the connection is lost, the next Read says so
	return n, nil
}

// Write sends p, as fast as the server lets it.
func (s *h2Stream) Write(p []byte) (sent int, err error) {
	for sent < len(p) {
		n, err := s.take(len(p) - sent)
		if err == nil {
			err = s.c.write(func(w *http2.Framer) error { return w.WriteData(s.id, false, p[sent:sent+n]) })
		}
		if err != nil {
			return sent, err
		}
		sent += n
	}
	return sent, nil
}

// take waits until at least one byte of n may be sent.
func (s *h2Stream) take(n int) (int, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for s.writeErr == nil && min(s.window, s.c.window) <= 0 {
		s.c.changed.Wait()
	}
	if s.writeErr != nil {
		return 0, s.writeErr
	}
	n = int(min(int64(n), s.window, s.c.window, int64(s.c.frameSize)))
	s.window -= int64(n)
	s.c.window -= int64(n)
	return n, nil
}

// closeWrite ends the request.
func (s *h2Stream) closeWrite() error {
	var err error
	s.c.update(func() {
		err = s.writeErr
		s.endLocked(nil, net.ErrClosed)
	})
	if err != nil {
		return err
	}
	return s.c.write(func(w *http2.Framer) error { return w.WriteData(s.id, true, nil) })
}

// reset breaks the stream off, if it is not over.
func (s *h2Stream) reset(code http2.ErrCode) {
	over := false
	unread := 0
	s.c.update(func() {
		over = s.readErr != nil && s.writeErr != nil
		err := http2.StreamError{StreamID: s.id, Code: code, Cause: errors.New("reset by the client")}
		s.endLocked(err, err)
		unread, s.received = len(s.received), nil
	})
	if over {
		return
	}
	_ = s.c.write(func(w *http2.Framer) error { return w.WriteRSTStream(s.id, code) })
	_ = s.giveBack(unread)
}

// Close is for the body of an answer.
func (s *h2Stream) Close() error {
	s.reset(http2.ErrCodeCancel)
	return nil
}
