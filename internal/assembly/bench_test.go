package assembly

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// The ways between a client and an upstream that BenchmarkMessage compares.
var ways = []struct {
	name    string
	plain   bool
	loop    bool
	deflate bool
	chains  [2]Chain
}{
	{name: "plain, on the loop", plain: true, loop: true},
	{name: "plain, by goroutines", plain: true},
	{name: "empty chain"},
	{name: "a handler", chains: both(time.Second, handlerFunc(pass))},
	{name: "a handler, compressed", deflate: true, chains: both(time.Second, handlerFunc(pass))},
}

// wrapped keeps a relay from using its loop.
type wrapped struct{ net.Conn }

// BenchmarkMessage sends a message through, and back.
func BenchmarkMessage(b *testing.B) {
	for _, way := range ways {
		for _, size := range []int{128, 4 << 10, 64 << 10} {
			b.Run(fmt.Sprintf("%s/%dB", way.name, size), func(b *testing.B) {
				client, upstream, outcome := between(b, way.plain, way.loop, way.deflate, way.chains)
				payload := []byte(long[:size])
				there, back := wsframe.AppendFrame(nil, wsframe.Text, true, false, payload, true), wsframe.AppendFrame(nil, wsframe.Text, true, false, payload, false)
				if way.deflate {
					payload = deflated(payload, nil)
					there = frame(0xC1, string(payload), true)
					back = frame(0xC1, string(payload), false)
				}
				go answerFrames(upstream, back)
				b.ReportAllocs()
				b.SetBytes(int64(2 * size))
				in := &frameReader{conn: client, buf: make([]byte, 256<<10)}
				for b.Loop() {
					if _, err := client.Write(there); err != nil {
						b.Fatal(err)
					}
					if err := in.message(); err != nil {
						b.Fatal(err)
					}
				}
				_, _ = client.Close(), upstream.Close()
				<-outcome
			})
		}
	}
}

// frameReader reads messages and throws them away.
type frameReader struct {
	conn io.Reader
	buf  []byte
	have int
}

// message reads a message.
func (f *frameReader) message() error {
	for {
		h, complete := wsframe.ParseHeader(f.buf[:f.have])
		if size := h.Size + int(h.Length); complete && f.have >= size {
			f.have = copy(f.buf, f.buf[size:f.have])
			if h.Final && h.Data() {
				return nil
			}
			continue
		}
		n, err := f.conn.Read(f.buf[f.have:])
		f.have += n
		if err != nil {
			return err
		}
	}
}

func answerFrames(c net.Conn, answer []byte) {
	in := &frameReader{conn: c, buf: make([]byte, 256<<10)}
	for in.message() == nil {
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// between starts a relay, with a Conn unless it is plain, and returns what is on both sides.
func between(b testing.TB, plain, loop, deflate bool, chains [2]Chain) (client, upstream net.Conn, outcome <-chan relay.Outcome) {
	b.Helper()
	client, clientNear := pair(b)
	serverNear, upstream := pair(b)
	c := relay.Config{Client: clientNear, Upstream: serverNear, WriteTimeout: time.Minute}
	done := make(chan relay.Outcome, 1)
	finish := func() {}
	bind := func(*relay.Relay) {}
	switch {
	case plain && !loop:
		c.Client = wrapped{clientNear}
	case !plain:
		var d handshake.Deflate
		if deflate {
			d, c.ReservedBits = deflateAgreed, wsframe.Deflate
		}
		conn, err := New(Config{Upstream: serverNear, Connection: &messages.Connection{}, Chains: chains, Reporter: &reports{}, Client: d, Server: d, WriteTimeout: time.Minute})
		if err != nil {
			b.Fatal(err)
		}
		c.Upstream, c.Assembled, finish = conn, true, conn.Finish
		bind = func(r *relay.Relay) { conn.Bind(r) }
	}
	r := relay.New(c)
	bind(r)
	r.Start(func(o relay.Outcome) {
		finish()
		done <- o
	})
	return client, upstream, done
}

// BenchmarkIdle measures what a quiet connection takes, without its sockets: both that
// has carried a message each way.
func BenchmarkIdle(b *testing.B) {
	for _, way := range ways {
		b.Run(way.name, func(b *testing.B) {
			const conns = 500
			var before, after runtime.MemStats
			for b.Loop() {
				b.StopTimer()
				runtime.GC()
				runtime.GC()
				runtime.ReadMemStats(&before)
				clients, upstreams, outcomes := manyBetween(b, conns, func() (net.Conn, net.Conn, <-chan relay.Outcome) {
					return between(b, way.plain, way.loop, way.deflate, way.chains)
				})
				runtime.GC()
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/conns, "heap-B/conn")
				b.ReportMetric(float64(int64(after.StackInuse)-int64(before.StackInuse))/conns, "stack-B/conn")
				for i := range clients {
					_, _ = clients[i].Close(), upstreams[i].Close()
					<-outcomes[i]
				}
				b.StartTimer()
			}
		})
	}
}

func manyBetween(b *testing.B, n int, open func() (net.Conn, net.Conn, <-chan relay.Outcome)) (clients, upstreams []net.Conn, outcomes []<-chan relay.Outcome) {
	b.Helper()
	there, back := frame(0x81, "hello", true), frame(0x81, "hello", false)
	for range n {
		client, upstream, outcome := open()
		clients, upstreams, outcomes = append(clients, client), append(upstreams, upstream), append(outcomes, outcome)
		in, out := &frameReader{conn: client, buf: make([]byte, 64)}, &frameReader{conn: upstream, buf: make([]byte, 64)}
		_, _ = client.Write(there)
		_ = out.message()
		_, _ = upstream.Write(back)
		_ = in.message()
	}
	return clients, upstreams, outcomes
}
