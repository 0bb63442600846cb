package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// upstreamPatience bounds what an upstream waits for.
const upstreamPatience = 30 * time.Second

// upstreams are the servers behind the gateway. All do as the request asks.
type upstreams struct {
	plain  [2]string
	secure string
	socket string

	certificate tls.Certificate
	pem, key    string // files of it
	listeners   []net.Listener
	live        atomic.Int64
}

func openUpstreams(dir string) (*upstreams, error) {
	u := &upstreams{socket: filepath.Join(dir, "upstream")}
	var err error
	if u.certificate, u.pem, u.key, err = makeCertificate(dir); err != nil {
		return nil, err
	}
	for _, at := range []struct{ network, address string }{
		{"tcp", "127.0.0.1:0"}, {"tcp", "127.0.0.1:0"}, {"tcp", "127.0.0.1:0"}, {"unix", u.socket},
	} {
		l, err := net.Listen(at.network, at.address)
		if err != nil {
			u.close()
			return nil, err
		}
		u.listeners = append(u.listeners, l)
		go u.accept(l, len(u.listeners) == 3)
	}
	u.plain = [2]string{u.listeners[0].Addr().String(), u.listeners[1].Addr().String()}
	u.secure = u.listeners[2].Addr().String()
	return u, nil
}

// behind is the Caddyfile of a gateway before these upstreams.
func (u *upstreams) behind(g *gateway) string {
	return g.configure(caddyfile, "{one}", portOf(u.plain[0]), "{two}", portOf(u.plain[1]),
		"{secure}", u.secure, "{socket}", u.socket, "{pem}", u.pem, "{key}", u.key)
}

func (u *upstreams) close() {
	for _, l := range u.listeners {
		_ = l.Close()
	}
}

func (u *upstreams) accept(l net.Listener, secure bool) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		if secure {
			conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{u.certificate}, MinVersion: tls.VersionTLS12})
		}
		u.live.Add(1)
		go func() {
			defer u.live.Add(-1)
			defer conn.Close()
			serve(conn)
		}()
	}
}

// serve answers one handshake.
func serve(conn net.Conn) {
	br := bufio.NewReader(conn)
	_ = conn.SetReadDeadline(time.Now().Add(upstreamPatience))
	r, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	id, s, err := scriptOf(r.URL)
	if err != nil {
		_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
		return
	}
	time.Sleep(s.Wait)
	switch s.Does {
	case drops:
		part(conn, s.How)
		return
	case silent:
		_, _ = br.ReadByte()
		return
	}
	head, rest := s.answer(id, r.Header.Get("Sec-WebSocket-Key"))
	if !s.say(conn, append(head, rest...)) || s.Does != accepts {
		return
	}
	if !s.Glued {
		if _, err := conn.Write(greeting(id).bytes(0)); err != nil {
			return
		}
	}
	s.echo(conn, br, id)
}

// answer is what the upstream says, without interruption: up to the end of its
// head, and beyond.
func (s *script) answer(id, key string) (head, rest []byte) {
	var b bytes.Buffer
	for range s.Hints {
		b.WriteString("HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
	}
	switch s.Does {
	case accepts, errs:
		if s.Does == errs {
			key += "not"
		}
		fmt.Fprintf(&b, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Accept: %s\r\nX-Id: %s\r\n\r\n", acceptOf(key), id)
		if s.Glued && s.Does == accepts {
			rest = greeting(id).bytes(0)
		}
	case refuses:
		rest = s.body(id)
		if !s.Chunk {
			fmt.Fprintf(&b, "HTTP/1.1 %d No\r\nX-Id: %s\r\nContent-Length: %d\r\n\r\n", s.Refusal, id, len(rest))
			break
		}
		fmt.Fprintf(&b, "HTTP/1.1 %d No\r\nX-Id: %s\r\nTransfer-Encoding: chunked\r\n\r\n", s.Refusal, id)
		if len(rest) > 0 {
			rest = fmt.Appendf(nil, "%x\r\n%s\r\n", len(rest), rest)
		}
		rest = append(rest, "0\r\n\r\n"...)
	}
	return b.Bytes(), rest
}

// body is the body of a refusal.
func (s *script) body(id string) []byte {
	return []byte(strings.Repeat(id+" ", s.Body/(len(id)+1)+1))[:s.Body]
}

func greeting(id string) frame { return text("hello " + id) }

// say writes all of the answer, or what is to come of it.
func (s *script) say(conn net.Conn, all []byte) (whole bool) {
	cut := s.Cut != never && s.Cut < len(all)
	if cut {
		all = all[:s.Cut]
	}
	size := s.Piece
	if size == 0 {
		size = max(len(all), 1)
	}
	for len(all) > 0 {
		n := min(size, len(all))
		if _, err := conn.Write(all[:n]); err != nil {
			return false
		}
		if all = all[n:]; len(all) > 0 {
			time.Sleep(s.Gap)
		}
	}
	if cut {
		part(conn, s.How)
	}
	return !cut
}

// echo sends every message back.
func (s *script) echo(conn net.Conn, br *bufio.Reader, id string) {
	for n := 1; ; n++ {
		if s.Lasts {
			_ = conn.SetDeadline(time.Time{})
		} else {
			_ = conn.SetDeadline(time.Now().Add(upstreamPatience))
		}
		f, err := readFrame(br)
		if err != nil {
			return
		}
		if _, err := conn.Write(f.bytes(0)); err != nil || f.op == opClose {
			return
		}
		if n != s.Quits {
			continue
		}
		if s.Quit == byFrame {
			if _, err := conn.Write(closing(4000+uint16(n), "bye "+id).bytes(0)); err != nil {
				return
			}
			drain(br)
			return
		}
		part(conn, s.Quit)
		return
	}
}

// part leaves a connection. It returns when it is over.
func part(conn net.Conn, how string) {
	switch how {
	case byReset:
		lingerNot(conn)
		_ = conn.Close()
	case byHalf:
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
			drain(conn)
		}
	}
	_ = conn.Close()
}

// drain reads to the end.
func drain(r io.Reader) { _, _ = io.Copy(io.Discard, r) }

// lingerNot makes a later close send RST.
func lingerNot(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if t, ok := conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
}

// errForeign is the worst finding: bytes that belong to another connection.
var errForeign = errors.New("not what was sent here")
