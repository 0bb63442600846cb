//go:build !386

package tcpdial

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// conn is a connection that the net package does not know. Go's poller does not know it
// either until somebody uses it in a way that may have to wait.
type conn struct {
	to Target

	mu    sync.Mutex // guards the rest
	fd    int        // -1 once the socket is closed, given away, or the file's
	file  *os.File   // what Go's poller waits for; nil before
	watch Watch
}

// Lend implements Loose.
func (c *conn) Lend() (fd int, by Watch, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fd, c.watch, c.fd >= 0
}

// Keep implements Loose.
func (c *conn) Keep(w Watch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watch = w
}

// Yield implements Loose.
func (c *conn) Yield() (fd int, by Watch, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fd, by = c.fd, c.watch
	c.fd, c.watch = -1, nil
	return fd, by, fd >= 0
}

// polled returns the file of the socket, and has Go's poller know it from then on. Nobody
// else waits for it any more.
func (c *conn) polled() (*os.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.file != nil:
		return c.file, nil
	case c.fd < 0:
		return nil, net.ErrClosed
	case c.watch != nil:
		c.watch.Leave(c.fd)
		c.watch = nil
	}
	c.file = os.NewFile(uintptr(c.fd), c.to.addr().Network()) // non-blocking, so that Go's poller takes it
	c.fd = -1
	return c.file, nil
}

// sendRest waits for the socket to be connected, and sends p.
func (c *conn) sendRest(ctx context.Context, p []byte, deadline time.Time) error {
	var failed error
	err := c.whenWritable(ctx, deadline, func(fd uintptr) bool {
		var n int
		n, failed = send(int(fd), p)
		p = p[n:]
		return failed != nil || len(p) == 0
	})
	return errors.Join(err, failed)
}

// whenWritable calls do now, and whenever the socket may have become writable, until do
// returns true.
func (c *conn) whenWritable(ctx context.Context, deadline time.Time, do func(fd uintptr) bool) error {
	file, err := c.polled()
	if err != nil {
		return err
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	if err := file.SetWriteDeadline(deadline); err != nil {
		return err
	}
	stop := WhenDone(ctx, func() { _ = file.SetWriteDeadline(time.Unix(1, 0)) })
	err = raw.Write(do)
	if !stop() {
		return context.Cause(ctx)
	}
	return errors.Join(err, file.SetWriteDeadline(time.Time{}))
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	file, err := c.polled()
	if err != nil {
		return 0, err
	}
	return file.Read(p)
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	file, err := c.polled()
	if err != nil {
		return 0, err
	}
	return file.Write(p)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.file != nil:
		return c.file.Close()
	case c.fd < 0:
		return net.ErrClosed
	case c.watch != nil:
		c.watch.Leave(c.fd)
		c.watch = nil
	}
	fd := c.fd
	c.fd = -1
	return syscall.Close(fd)
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error { return c.setDeadline(t, (*os.File).SetDeadline) }

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	return c.setDeadline(t, (*os.File).SetReadDeadline)
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	return c.setDeadline(t, (*os.File).SetWriteDeadline)
}

// setDeadline leaves Go's poller out of it where there is no deadline to take away.
func (c *conn) setDeadline(t time.Time, set func(*os.File, time.Time) error) error {
	if t.IsZero() {
		if _, _, loose := c.Lend(); loose {
			return nil
		}
	}
	file, err := c.polled()
	if err != nil {
		return err
	}
	return set(file, t)
}

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.to.addr() }

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr {
	if c.to.Unix != "" {
		return &net.UnixAddr{Net: "unix"}
	}
	local := new(net.TCPAddr)
	_ = c.control(func(fd int) {
		switch sa, _ := syscall.Getsockname(fd); sa := sa.(type) {
		case *syscall.SockaddrInet4:
			local.IP, local.Port = sa.Addr[:], sa.Port
		case *syscall.SockaddrInet6:
			local.IP, local.Port = sa.Addr[:], sa.Port
		}
	})
	return local
}

// control calls f with the descriptor, which stays open meanwhile.
func (c *conn) control(f func(fd int)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		if c.fd < 0 {
			return net.ErrClosed
		}
		f(c.fd)
		return nil
	}
	raw, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { f(int(fd)) })
}

// SyscallConn implements syscall.Conn.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	file, err := c.polled()
	if err != nil {
		return nil, err
	}
	return file.SyscallConn()
}

// PlainSocket implements relay.Socket: nothing of the stream is held back here.
func (c *conn) PlainSocket() {}

// Interface guards
var (
	_ net.Conn     = (*conn)(nil)
	_ syscall.Conn = (*conn)(nil)
	_ Loose        = (*conn)(nil)
)
