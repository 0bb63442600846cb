package integration

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// talker is one side of a connection: it sends large messages without a pause, with
// pings among their fragments, and holds what it gets to be such messages, whole and in
// their order, up to a close frame.
type talker struct {
	in     *bufio.Reader
	out    io.Writer
	encode func(...frame) []byte
	rnd    *rand.Rand

	pongs   chan frame    // to be sent between frames
	leaving chan struct{} // closed where the other side has closed
	heard   chan struct{} // has something for each message

	ours int // pings that the talker on the other side has not sent
}

func newTalker(in *bufio.Reader, out io.Writer, encode func(...frame) []byte, seed uint64) *talker {
	return &talker{in: in, out: out, encode: encode, rnd: rand.New(rand.NewPCG(seed, 1)),
		pongs: make(chan frame, 10_000), leaving: make(chan struct{}), heard: make(chan struct{}, 10_000)}
}

const talkersPing = "a talker's own ping"

// message is the n-th that a talker sends.
func message(n uint64) []byte {
	b := binary.BigEndian.AppendUint64(nil, n)
	return append(b, bytes.Repeat([]byte{byte(n)}, 1<<18-8)...) // #nosec G115 -- wrapping is the point
}

// talk sends until the other side has closed, and then closes.
func (k *talker) talk() {
	for n := uint64(0); ; n++ {
		op := byte(opBinary)
		fragments := 1 + k.rnd.IntN(3)
		rest := message(n)
		for i := range fragments {
			piece := rest[:len(rest)/(fragments-i)]
			rest = rest[len(piece):]
			if _, err := k.out.Write(k.encode(frame{fin: i == fragments-1, op: op, payload: piece})); err != nil {
				return
			}
			op = opContinuation
			if !k.interject() {
				return
			}
		}
	}
}

// interject sends pongs and pings, and reports whether there is more to be said.
func (k *talker) interject() bool {
	frames := []frame{pingOf(talkersPing)}
	for {
		select {
		case f := <-k.pongs:
			frames = append(frames, f)
		case <-k.leaving:
			_, _ = k.out.Write(k.encode(append(frames, closing(1000, ""))...))
			return false
		default:
			_, err := k.out.Write(k.encode(frames...))
			return err == nil
		}
	}
}

// listen reads up to a close frame, and returns its code.
func (k *talker) listen() (code int, err error) {
	defer close(k.leaving)
	var got []byte
	for n := uint64(0); ; {
		f, err := readFrame(k.in)
		switch {
		case err != nil:
			return 0, err
		case f.rsv != 0:
			return 0, fmt.Errorf("reserved bits in %v", f)
		case f.op == opClose:
			return f.closeCode(), nil
		case f.op == opPing:
			if string(f.payload) != talkersPing {
				k.ours++
			}
			k.pongs <- frame{fin: true, op: opPong, payload: f.payload}
		case f.op == opPong && string(f.payload) != talkersPing:
			return 0, fmt.Errorf("pong %v to a ping that is not the talker's", f)
		case f.op == opPong:
		case f.op == opBinary && got == nil, f.op == opContinuation && got != nil:
			got = append(got, f.payload...)
			if !f.fin {
				continue
			}
			if !bytes.Equal(got, message(n)) {
				return 0, fmt.Errorf("message %d is not what was sent", n)
			}
			got = nil
			n++
			k.heard <- struct{}{}
		default:
			return 0, fmt.Errorf("%v in the middle of a message: %t", f, got != nil)
		}
	}
}

// conversation has both sides of a connection talk until the gateway ends it.
type conversation struct {
	client, upstream *talker
	over             sync.WaitGroup
}

func converse(t *testing.T, name string, near *wsConn, up *backendConn, seed uint64) *conversation {
	t.Helper()
	unrecorded := bufio.NewReaderSize(up.Conn, 64<<10) // nothing has been said yet
	c := &conversation{client: newTalker(near.br, near.w, client, seed), upstream: newTalker(unrecorded, up, upstreamBytes, seed+1)}
	guard := time.AfterFunc(3*patience, near.kill)
	_ = up.SetDeadline(time.Now().Add(3 * patience))
	var sides sync.WaitGroup
	for side, k := range map[string]*talker{"client": c.client, "upstream": c.upstream} {
		sides.Go(k.talk)
		c.over.Go(func() {
			want := map[string]int{"client": 1012, "upstream": 1001}[side]
			if code, err := k.listen(); err != nil || code != want {
				t.Errorf("%s: the %s got %d, %v; want %d", name, side, code, err, want)
			}
		})
	}
	c.over.Go(func() {
		<-c.client.leaving
		<-c.upstream.leaving
		sides.Wait()
		guard.Stop()
		near.kill()
		_ = up.Close()
	})
	return c
}

// TestDrainsAndPingsKeepToTheBoundariesOfFrames has messages of 256 KiB stream both
// ways, the client's as fast as its rate allows, while the gateway sends pings of its
// own, is reloaded, and drains the upstream (S18): no side ever gets anything but whole
// frames in their order, and then a close frame.
func TestDrainsAndPingsKeepToTheBoundariesOfFrames(t *testing.T) {
	long(t)
	all, _ := backends(t, 2, handOver())
	site := func(b *backend, i int) string {
		return fmt.Sprintf("respond /%d hello\nws_gateway %s {\n drain_period 0s\n ping 50ms 10s\n limit {\n bytes 40MB/1s burst %dkB\n }\n }", i, b.addr, 64+i)
	}
	g := start(t, site(all[0], 0))
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	pings, rounds := 0, 0
	for enough := time.Now().Add(6 * time.Second); time.Now().Before(enough) && !t.Failed(); rounds++ {
		b := all[rounds%2]
		var talks []*conversation
		for i, c := range carriers {
			near := c.open(t, g, "/ws", nil)
			up := receive(t, "upgrade at the backend", b.upgraded)
			talks = append(talks, converse(t, c.name, near, up, seed+uint64(10*rounds+i))) // #nosec G115 -- small
		}
		g.reload(t, site(b, 1+rounds%5))
		for _, talk := range talks {
			receive(t, "a message at the client", talk.client.heard)
			receive(t, "a message at the upstream", talk.upstream.heard)
		}
		g.reload(t, site(all[1-rounds%2], rounds%5))
		for _, talk := range talks {
			talk.over.Wait()
			pings += talk.client.ours
			if talk.upstream.ours > 0 {
				t.Error("an upstream got a ping of the gateway's")
			}
		}
	}
	t.Logf("%d rounds over %d carriers, %d pings of the gateway's", rounds, len(carriers), pings)
	if pings == 0 {
		t.Error("the gateway has sent no ping, and the test shows nothing of them")
	}
	g.assertNoLiveSeries(t)
	for _, line := range book.closedBy(all[0].addr, all[1].addr) {
		if line.num("code") != 1012 || line.str("by") != "gateway" {
			t.Errorf("logged: %s", line.raw)
		}
	}
}
