package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// seat is one client, which always wants a connection.
type seat struct {
	fleet  *fleet
	id     int
	secure bool

	// Of the present connection: its number, messages and their bytes.
	life                atomic.Int64
	sent, back          atomic.Int64
	sentBytes, gotBytes atomic.Int64

	mu        sync.Mutex // guards what follows, and writes
	conn      net.Conn   // nil while there is none
	upstream  string
	isHushed  bool // sends no more
	isLeaving bool // by its own wish
}

// ended is how a connection came to its end.
type ended struct {
	code  int   // of the close frame
	err   error // where there was none
	wrong bool  // what came was not what was due
}

// keepOpen connects again and again, until the fleet finishes.
func (s *seat) keepOpen() {
	for !s.fleet.finishing.Load() {
		s.fleet.dials <- struct{}{}
		conn, br, err := s.dial()
		<-s.fleet.dials
		if err != nil {
			s.fleet.note(func(sum *summary) { sum.Retried++ })
			s.fleet.complain("connection %d is retried: %v", s.id, err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		s.send()
		s.judge(s.read(br))
		_ = conn.Close()
	}
}

// dial makes a handshake and reads where it led to.
func (s *seat) dial() (net.Conn, *bufio.Reader, error) {
	address := s.fleet.order.Plain
	if s.secure {
		address = s.fleet.order.TLS
	}
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	if s.secure {
		conn = tls.Client(conn, &tls.Config{ServerName: "localhost", InsecureSkipVerify: true}) //nolint:gosec // the certificate is made for this run
	}
	br := bufio.NewReader(conn)
	upstream, err := shake(conn, br)
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life.Add(1)
	for _, counter := range []*atomic.Int64{&s.sent, &s.back, &s.sentBytes, &s.gotBytes} {
		counter.Store(0)
	}
	s.conn, s.upstream, s.isHushed, s.isLeaving = conn, upstream, false, false
	return conn, br, nil
}

func shake(conn net.Conn, br *bufio.Reader) (upstream string, err error) {
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	_, err = io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+key+"\r\n\r\n")
	if err != nil {
		return "", err
	}
	res, err := http.ReadResponse(br, nil) //nolint:bodyclose // there is none after a 101, and the connection is closed otherwise
	if err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Sec-WebSocket-Accept") != acceptOf(key) {
		return "", fmt.Errorf("the handshake was answered %s", res.Status)
	}
	_, name, err := readFrame(br)
	return string(name), err
}

// read compares what comes back with what was sent, until the end.
func (s *seat) read(br *bufio.Reader) ended {
	for {
		op, payload, err := readFrame(br)
		switch {
		case err != nil:
			return ended{err: err}
		case op == opClose:
			s.answerClose(payload)
			if len(payload) < 2 {
				return ended{code: 1005}
			}
			return ended{code: int(binary.BigEndian.Uint16(payload))}
		}
		if want := s.message(s.back.Load()); op != opBinary || !bytes.Equal(payload, want) {
			return ended{err: fmt.Errorf("%d bytes came where %d others were due", len(payload), len(want)), wrong: true}
		}
		s.gotBytes.Add(int64(len(payload)))
		s.back.Add(1)
	}
}

// judge counts how the connection ended.
func (s *seat) judge(e ended) {
	s.mu.Lock()
	s.conn = nil
	isLeaving, upstream := s.isLeaving, s.upstream
	s.mu.Unlock()
	missing := int(s.sentBytes.Load() - s.gotBytes.Load())
	wasRemoved := !isLeaving && s.fleet.removing.Load() && upstream == s.fleet.order.Leaving
	isDrained := wasRemoved && e.code == 1012
	hasParted := s.fleet.parting.Load() && e.code == 1001
	asItShould := isDrained || missing == 0 && (hasParted || isLeaving && e.code == 1000)
	s.fleet.note(func(sum *summary) {
		sum.Messages += int(s.back.Load())
		sum.Bytes += int(s.gotBytes.Load())
		switch {
		case e.wrong:
			sum.Wrong++
		case isDrained:
			sum.Drained++ // what was on its way is lost, as at any close
			return
		case wasRemoved:
			sum.Undue++
		case hasParted:
			sum.Parted++
		case !isLeaving || e.code != 1000:
			sum.Dropped++
		}
		sum.Lost += missing
	})
	if !asItShould {
		s.fleet.complain("connection %d at %s: code %d, %v, %d bytes missing", s.id, upstream, e.code, e.err, missing)
	}
}

// message is what the connection sends as its n-th. The first is longer than any
// buffer, so that those have their size from the beginning, and some of the
// others are; most are short.
func (s *seat) message(n int64) []byte {
	life := s.life.Load()
	rng := rand.New(rand.NewPCG(uint64(s.id)<<32|uint64(life), uint64(n))) //nolint:gosec // it is to come out the same again
	size := 16 + rng.IntN(240)
	if n == 0 || rng.IntN(50) == 0 {
		size = 40_000 + rng.IntN(30_000)
	}
	b := fmt.Appendf(make([]byte, 0, size+32), "%d/%d/%d ", s.id, life, n)
	for len(b) < size {
		b = binary.LittleEndian.AppendUint64(b, rng.Uint64())
	}
	return b
}

// send sends the next message, if there is a connection for it.
func (s *seat) send() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil || s.isHushed {
		return
	}
	payload := s.message(s.sent.Load())
	s.sent.Add(1)
	s.sentBytes.Add(int64(len(payload)))
	s.writeLocked(appendFrame(nil, opBinary, payload, true))
}

// writeLocked leaves it to read to notice a failure.
func (s *seat) writeLocked(b []byte) {
	_ = s.conn.SetWriteDeadline(time.Now().Add(patience))
	_, _ = s.conn.Write(b)
}

func (s *seat) isSettled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn != nil && !s.isLeaving && s.back.Load() > 0 &&
		(!s.fleet.removing.Load() || s.upstream != s.fleet.order.Leaving)
}

// hush sends no more, so that what is on its way can come back.
func (s *seat) hush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isHushed = true
}

// isEven tells whether everything has come back, or nothing more can.
func (s *seat) isEven() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn == nil || s.back.Load() == s.sent.Load()
}

// leave begins the closing handshake.
func (s *seat) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return
	}
	s.isLeaving = true
	s.writeLocked(appendFrame(nil, opClose, binary.BigEndian.AppendUint16(nil, 1000), true))
}

// answerClose ends the closing handshake that the other side began.
func (s *seat) answerClose(payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isLeaving {
		s.writeLocked(appendFrame(nil, opClose, payload, true))
	}
}
