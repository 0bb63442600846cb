package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
)

// dialer opens the connections of an engine, and knows them all, so that nothing waits
// for a server that does not answer when the engine is closed.
type dialer struct {
	mu     sync.Mutex
	conns  map[*conn]struct{}
	closed bool
}

// conn is a connection that its dialer knows until it is closed.
type conn struct {
	net.Conn
	dialer *dialer
}

func (d *dialer) dial(ctx context.Context, addr string, dialer *net.Dialer, config *tls.Config) (net.Conn, error) {
	var opened net.Conn
	var err error
	if config != nil {
		opened, err = (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, "tcp", addr)
	} else {
		opened, err = dialer.DialContext(ctx, "tcp", addr)
	}
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: opened, dialer: d}
	if !d.add(c) {
		return nil, errors.Join(errClosed, opened.Close())
	}
	return c, nil
}

func (d *dialer) add(c *conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.conns[c] = struct{}{}
	return true
}

// Close closes the connection. The good-bye of TLS may take seconds, for which no other one
// waits.
func (c *conn) Close() error {
	c.dialer.remove(c)
	return c.Conn.Close()
}

func (d *dialer) remove(c *conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.conns, c)
}

// close closes all connections, and lets none be opened any more.
func (d *dialer) close() {
	for _, c := range d.end() {
		_ = c.Close() // it may be closed already
	}
}

func (d *dialer) end() []*conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	conns := make([]*conn, 0, len(d.conns))
	for c := range d.conns {
		conns = append(conns, c)
	}
	return conns
}
