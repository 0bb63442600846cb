package integration

import (
	"io"
	"net"
)

// echo accepts and sends every frame back, unmasked, until the client closes.
func echo(c *backendConn) {
	if c.accept() == nil {
		echoOn(c)
	}
}

// echoOn is echo after accept.
func echoOn(c *backendConn) {
	defer c.end()
	for {
		f, err := readFrame(c.br)
		if err != nil || c.write(f) != nil || f.op == opClose {
			return
		}
	}
}

// hold accepts, says nothing, and answers the client's close.
func hold(c *backendConn) {
	if c.accept() != nil {
		return
	}
	defer c.end()
	for {
		f, err := readFrame(c.br)
		if err != nil {
			return
		}
		if f.op == opClose {
			_ = c.write(f)
			return
		}
	}
}

// named accepts, says which backend this is, and goes on like echo.
func named(c *backendConn) {
	if c.accept() != nil {
		return
	}
	if c.write(text(c.b.addr)) != nil {
		c.end()
		return
	}
	echoOn(c)
}

// handOver accepts and leaves the connection to the test, which closes it.
func handOver(lines ...string) script {
	return func(c *backendConn) {
		if c.accept(lines...) != nil {
			return
		}
		defer c.end()
		c.b.upgraded <- c
		<-c.closed
	}
}

// answering gives a fixed answer to the handshake and then reads on, so that
// whatever else reaches the backend is recorded.
func answering(s string) script {
	return func(c *backendConn) {
		if c.reply(s) != nil {
			return
		}
		_, _ = io.Copy(io.Discard, c.br)
	}
}

// silent never answers, but keeps reading.
func silent(c *backendConn) {
	_, _ = io.Copy(io.Discard, c.br)
}

// resetOnDial breaks off every connection as soon as it is there.
func resetOnDial(conn net.Conn) bool {
	reset(conn)
	return false
}

// closeOnDial ends every connection in order, but without an answer.
func closeOnDial(conn net.Conn) bool {
	_ = conn.Close()
	return false
}
