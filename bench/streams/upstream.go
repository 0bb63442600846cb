package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	eventSize = 200
	greetings = 3 // events that a stream begins with
	tick      = time.Millisecond
	halfTime  = 100 * time.Millisecond // between the halves of an event that comes in two
)

// event is the nth of a stream, from 0.
func event(n int) string {
	head := fmt.Sprintf("id: %010d\ndata: ", n)
	return head + strings.Repeat("x", eventSize-len(head)-2) + "\n\n"
}

// upstream serves event streams that never end by themselves.
type upstream struct {
	ln net.Listener

	mu    sync.Mutex
	feeds []*feed
	next  int // whose turn it is
}

// feed is a stream.
type feed struct {
	conn net.Conn
	sent int // events

	half string // what is missing of the last event
	due  time.Time
}

func newUpstream() (*upstream, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u := &upstream{ln: ln}
	go u.serve()
	return u, nil
}

func (u *upstream) address() string { return u.ln.Addr().String() }

func (u *upstream) serve() {
	for {
		conn, err := u.ln.Accept()
		if err != nil {
			return
		}
		go u.take(conn)
	}
}

// take answers the only request of a connection, until that is closed.
func (u *upstream) take(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 512)
	if _, err := http.ReadRequest(r); err != nil {
		return
	}
	f := &feed{conn: conn}
	u.add(f)
	defer u.remove(f)
	_, _ = r.ReadByte()
}

func (u *upstream) add(f *feed) {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, _ = fmt.Fprint(f.conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
	for range greetings {
		f.send(event(f.sent))
		f.sent++
	}
	u.feeds = append(u.feeds, f)
}

func (u *upstream) remove(f *feed) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.feeds = slices.DeleteFunc(u.feeds, func(other *feed) bool { return other == f })
}

// send sends a chunk. Where nobody takes it, the connection is about to be removed.
func (f *feed) send(text string) {
	_ = f.conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, _ = fmt.Fprintf(f.conn, "%x\r\n%s\r\n", len(text), text)
}

func (u *upstream) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.feeds)
}

// push sends events at the rate, to one stream after the other, until done. With halves, each
// comes in two pieces, with time between them. It returns how many events it has sent.
func (u *upstream) push(rate int, halves bool, done <-chan struct{}) (sent int) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var unfinished []*feed
	for start := time.Now(); ; {
		select {
		case <-done:
			u.complete(unfinished, time.Time{})
			return sent
		case <-ticker.C:
		}
		for due := int(time.Since(start).Seconds() * float64(rate)); sent < due; sent++ {
			if f := u.pushOne(halves); f != nil && halves {
				unfinished = append(unfinished, f)
			}
		}
		unfinished = u.complete(unfinished, time.Now())
	}
}

// pushOne sends an event, or its first half, to whose turn it is.
func (u *upstream) pushOne(half bool) *feed {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.feeds) == 0 {
		return nil
	}
	u.next = (u.next + 1) % len(u.feeds)
	f := u.feeds[u.next]
	f.finish()
	text := event(f.sent)
	f.sent++
	if half {
		text, f.half, f.due = text[:len(text)-1], text[len(text)-1:], time.Now().Add(halfTime)
	}
	f.send(text)
	return f
}

// complete sends what is missing and due at a time, or at all where that is zero. It returns
// the rest.
func (u *upstream) complete(unfinished []*feed, at time.Time) []*feed {
	u.mu.Lock()
	defer u.mu.Unlock()
	for len(unfinished) > 0 && (at.IsZero() || !unfinished[0].due.After(at)) {
		unfinished[0].finish()
		unfinished = unfinished[1:]
	}
	return unfinished
}

func (f *feed) finish() {
	if f.half != "" {
		f.send(f.half)
		f.half = ""
	}
}
