//go:build unix

package relay

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// newReader returns the reader that suits the conn. Only a Socket and the very types
// of the standard library are known to hold nothing back: a wrapper may have read
// ahead, and then the socket does not say whether there is more.
func newReader(c Conn, buffers *bufferSource) reader {
	var sc syscall.Conn
	switch c := c.(type) {
	case *net.TCPConn:
		sc = c
	case *net.UnixConn:
		sc = c
	case Socket:
		sc = c
	}
	if sc != nil {
		if raw, err := sc.SyscallConn(); err == nil {
			s := &socketReader{raw: raw, buffers: buffers}
			s.tryFunc = s.try
			return s
		}
	}
	return &bufferedReader{conn: c, buffers: buffers}
}

// socketReader waits on a socket without a buffer: it borrows a buffer for each attempt
// to read and gives the buffer back before it waits.
type socketReader struct {
	raw     syscall.RawConn
	buffers *bufferSource
	tryFunc func(fd uintptr) bool // try, bound once and not at every read

	lent *buffer
	n    int
	err  error
}

func (s *socketReader) read() ([]byte, error) {
	if err := s.raw.Read(s.tryFunc); err != nil {
		return nil, err
	}
	if s.err != nil {
		return nil, s.err
	}
	return s.lent[:s.n], nil
}

// try reads if there is something to read, or the end of the stream, and reports
// whether there was.
func (s *socketReader) try(fd uintptr) bool {
	lent := s.buffers.get()
	n, err := readRetrying(int(fd), lent[:])
	switch {
	case errors.Is(err, syscall.EAGAIN):
		s.buffers.put(lent)
		return false
	case err == nil && n == 0:
		err = io.EOF
	}
	s.lent, s.n, s.err = lent, n, err
	return true
}

func readRetrying(fd int, p []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, p)
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}

func (s *socketReader) release() {
	if s.lent != nil {
		s.buffers.put(s.lent)
		s.lent = nil
	}
}
