package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
)

// howManyUpstreams there are; the last is added and removed.
const howManyUpstreams = 4

// serveUpstreams tells where they are and echoes until the input ends.
func serveUpstreams() error {
	var addresses []string
	for range howManyUpstreams {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		addresses = append(addresses, ln.Addr().String())
		go acceptAll(ln)
	}
	if err := json.NewEncoder(os.Stdout).Encode(addresses); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

func acceptAll(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			_ = echo(conn, ln.Addr().String())
		}()
	}
}

// echo says where the client has come to, and then says what the client says.
func echo(conn net.Conn, name string) error {
	br := bufio.NewReader(conn)
	r, err := http.ReadRequest(br)
	if err != nil {
		return err
	}
	_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: "+acceptOf(r.Header.Get("Sec-WebSocket-Key"))+"\r\n\r\n")
	if err != nil {
		return err
	}
	if _, err := conn.Write(appendFrame(nil, opText, []byte(name), false)); err != nil {
		return err
	}
	for {
		op, payload, err := readFrame(br)
		if err != nil {
			return err
		}
		if _, err := conn.Write(appendFrame(nil, op, payload, false)); err != nil {
			return err
		}
		if op == opClose {
			return nil
		}
	}
}
