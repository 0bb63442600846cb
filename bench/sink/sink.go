// Package sink is an upstream for measurements that are not about it: it takes whatever
// comes.
package sink

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // RFC 6455 asks for it
	"encoding/base64"
	"io"
	"net"
	"net/http"
)

// Serve accepts handshakes until the listener is closed. It answers the first thing that
// a connection brings, a close frame, by the end.
func Serve(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go take(conn)
	}
}

func take(conn net.Conn) {
	defer conn.Close()
	r, err := http.ReadRequest(bufio.NewReaderSize(conn, 512))
	if err != nil {
		return
	}
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // RFC 6455 asks for it
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+
		base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n")
	var frame [8]byte
	if _, err := io.ReadFull(conn, frame[:]); err == nil {
		_, _ = conn.Write([]byte{0x88, 2, 3, 0xe8})
	}
}
