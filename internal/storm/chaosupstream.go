package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// livePath is where an upstream says how many connections it has.
const livePath = "/live"

// serveChaos is the process of an upstream: it sends every message back, and others of
// its own accord. What is wrong with what it hears goes to standard output, a line of
// JSON each. It ends when standard input does.
func serveChaos(address, pem, key string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	if pem != "" {
		pair, err := tls.LoadX509KeyPair(pem, key)
		if err != nil {
			return err
		}
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	}
	fillers()
	u := &chaosUpstream{instance: address + "/" + strconv.Itoa(os.Getpid()), out: json.NewEncoder(os.Stdout)}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go u.serve(conn)
		}
	}()
	u.tell(u.instance)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

type chaosUpstream struct {
	instance string
	live     atomic.Int64

	mu  sync.Mutex // guards out
	out *json.Encoder
}

// tell writes a line for the program that started this one.
func (u *chaosUpstream) tell(line any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	_ = u.out.Encode(line)
}

func (u *chaosUpstream) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(upstreamPatience))
	br := bufio.NewReader(conn)
	r, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	if r.URL.Path == livePath {
		n := strconv.FormatInt(u.live.Load(), 10)
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(n), n)
		return
	}
	u.live.Add(1)
	defer u.live.Add(-1)
	l, err := lifeOf(r.URL)
	if err != nil {
		u.tell(finding{Text: fmt.Sprintf("what life is %s? %v", r.URL, err)})
		return
	}
	a := &answerer{
		life: l, conn: conn, own: l.voice(true), theirs: l.voice(false),
		h: hearer{br: br, masked: true}, over: make(chan struct{}),
		r: l.random(2),
	}
	_ = conn.SetDeadline(time.Time{})
	connection := r.Header.Get("X-Connection")
	hello := text(fmt.Sprintf("hello %s %s %s", l.ID, u.instance, connection)).bytes(0)
	a.write(fmt.Appendf(nil, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\n\r\n%s", acceptOf(r.Header.Get("Sec-WebSocket-Key")), hello))
	var pushing sync.WaitGroup
	pushing.Go(a.push)
	err = a.converse()
	close(a.over)
	pushing.Wait()
	if err != nil {
		u.tell(finding{
			Connection: connection, Late: errors.Is(err, errLate),
			Text: fmt.Sprintf("upstream %s, of %s: heard %d, pushed %d: %v", u.instance, &l, a.heard, a.pushed, err),
		})
	}
}

// answerer is an upstream's side of a connection.
type answerer struct {
	life
	conn        net.Conn
	own, theirs voice
	h           hearer
	scratch     []byte
	heard       int // messages
	ponged      int
	over        chan struct{}

	mu      sync.Mutex // guards what follows, and writing
	r       *rand.Rand
	pushed  int
	pinged  int
	closing bool // a close frame was sent, or nothing will be any more
	mute    bool // the gateway takes nothing any more, but may have said why
}

// write has mu held, or is alone. If it fails, whoever hears will hear why.
func (a *answerer) write(p []byte) {
	if a.mute {
		return
	}
	_ = a.conn.SetWriteDeadline(time.Now().Add(clientPatience))
	_, err := a.conn.Write(p)
	a.mute = err != nil
}

// say sends a message. Now and then a ping comes before one of its frames.
func (a *answerer) say(op byte, payload []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sayLocked(op, payload)
}

func (a *answerer) sayLocked(op byte, payload []byte) {
	if a.closing {
		return
	}
	var wire []byte
	for _, f := range split(a.r, op, payload, false) {
		if a.r.IntN(100) < a.Pings {
			wire = append(wire, frame{opPing, a.pingPayload(a.pinged)}.bytes(0)...)
			a.pinged++
		}
		wire = append(wire, f...)
	}
	a.write(wire)
}

// push sends messages of the upstream's own until the connection is over.
func (a *answerer) push() {
	timer := time.NewTimer(a.Pushes)
	defer timer.Stop()
	var scratch []byte
	for {
		select {
		case <-a.over:
			return
		case <-timer.C:
		}
		op, payload := a.own.message(a.pushed, scratch[:0])
		scratch = payload
		timer.Reset(a.pushOne(op, payload))
	}
}

// pushOne returns after how long the next one comes.
func (a *answerer) pushOne(op byte, payload []byte) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closing {
		a.pushed++ // it has been said even if it did not arrive
	}
	a.sayLocked(op, payload)
	return time.Duration(a.r.Int64N(int64(2 * a.Pushes)))
}

// converse hears the client until one of them has had enough.
func (a *answerer) converse() error {
	for {
		_ = a.conn.SetReadDeadline(time.Now().Add(2 * clientPatience))
		f, err := a.h.hear()
		if err != nil {
			return a.lost(err)
		}
		switch f.op {
		case opPing:
			a.pong(f)
			continue
		case opPong:
			if err := differs(f, opPong, a.pingPayload(a.ponged)); err != nil {
				return err
			}
			a.ponged++
			continue
		case opClose:
			return a.closed(f)
		}
		op, want := a.theirs.message(a.heard, a.scratch[:0])
		a.scratch = want
		if err := differs(f, op, want); err != nil {
			return err
		}
		a.heard++
		a.say(f.op, f.payload)
		if a.heard == a.UpstreamAt && a.Upstream != none {
			if left := a.act(); left {
				return nil
			}
		}
	}
}

func (a *answerer) pong(f frame) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closing {
		a.write(frame{opPong, f.payload}.bytes(0))
	}
}

// act commits the upstream's fault, and reports whether that ends what it hears.
func (a *answerer) act() (left bool) {
	if a.Upstream == pauses || a.Upstream == stalls {
		a.mu.Lock()
		d := a.Upstream.pausing(a.r)
		a.mu.Unlock()
		time.Sleep(d)
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch a.Upstream {
	default: // has no moment of its own
	case closes:
		a.write(closing(uint16(4000+a.heard), fmt.Sprintf("bye %d %d", a.heard, a.pushed)).bytes(0))
		a.closing = true
		return false
	case resets:
		part(a.conn, byReset)
	case hangsUp:
		part(a.conn, byEnd)
	case halves, truncates:
		a.write(text(fmt.Sprintf("last %d %d", a.heard, a.pushed)).bytes(0))
		if a.Upstream == truncates {
			a.write(stump(a.r, 0))
		}
		part(a.conn, byHalf)
	case garbles:
		a.write(garbage(a.r))
		part(a.conn, byHalf)
	}
	a.closing = true
	return true
}

// closed judges a close frame, and answers it.
func (a *answerer) closed(f frame) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closing {
		return nil
	}
	a.closing = true
	code, reason := f.code(), f.reason()
	a.write(closing(code, fmt.Sprintf("got %d", a.heard)).bytes(0))
	part(a.conn, byHalf)
	switch {
	case code == 1000:
		if want := fmt.Sprintf("sent %d", a.heard); reason != want {
			return fmt.Errorf("closed with %q, want %q", reason, want)
		}
		return nil
	case reason == "":
	case code == 1001,
		code == 1011 && (!a.Client.harmless() || !a.Upstream.harmless()),
		code == 1009 && (a.Route == tightRoute || a.Client == garbles),
		code == 1002 && a.Client == garbles && strings.HasPrefix(reason, "client: "):
		return nil
	}
	return fmt.Errorf("closed with %d %q", code, reason)
}

// lost judges an end without a close frame.
func (a *answerer) lost(err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.closing, a.Upstream == stalls:
		return nil
	case errors.Is(err, errGarbage) && a.Client == garbles:
		a.write(closing(1002, "upstream: "+err.Error()).bytes(0))
		part(a.conn, byHalf)
		return nil
	case errors.Is(err, errGarbage), errors.Is(err, os.ErrDeadlineExceeded):
	case a.h.mid && !a.Client.harmless():
		return nil // and nobody could say so
	case a.heard == 0 && !a.Client.harmless():
		return nil // it may have gone before the answer came
	}
	err = fmt.Errorf("ended without a close frame, in a frame: %t: %w", a.h.mid, err)
	if a.h.mid {
		return fmt.Errorf("%w: %w", errLate, err) // the gateway has closed, and the client has not sent the rest in time
	}
	return err
}
