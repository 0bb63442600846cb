//go:build linux

package main

import (
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
)

// serveRelay is what Go's standard library can do without any HTTP: accept, with
// TLS where there are certificates, dial, and copy both ways.
func serveRelay(addr, to, certs string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	if certs != "" {
		cert, err := tls.LoadX509KeyPair(filepath.Join(certs, "cert.pem"), filepath.Join(certs, "key.pem"))
		if err != nil {
			return err
		}
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
	}
	upstreams := strings.Split(to, ",")
	var turn atomic.Uint32
	for {
		c, err := listener.Accept()
		if err != nil {
			return err
		}
		go relay(c, upstreams[int(turn.Add(1))%len(upstreams)])
	}
}

func relay(client net.Conn, to string) {
	defer client.Close()
	if t, ok := client.(*tls.Conn); ok && t.Handshake() != nil {
		return
	}
	upstream, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer upstream.Close()
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(plain{upstream}, bare{client})
		_ = upstream.(*net.TCPConn).CloseWrite()
	})
	_, _ = io.Copy(plain{client}, bare{upstream})
	_ = client.Close()
	both.Wait()
}

// plain and bare hide from io.Copy that it could splice: it would hold two pipes for
// each connection, and run out of descriptors.
type (
	plain struct{ io.Writer }
	bare  struct{ io.Reader }
)
