package relay

import (
	"bytes"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// chaosPeer plays a peer: it sends a stream in pieces with pauses, perhaps stops
// reading for good, and perhaps goes away.
type chaosPeer struct {
	conn       net.Conn
	stream     []byte
	rng        *rand.Rand
	unit       time.Duration // of its moments
	pause      func(longest int)
	piece      int    // what it sends at once, at most
	buffer     []byte // what it reads at once
	readsUntil time.Duration
	leavesAt   time.Duration // 0 for never
	leave      func()

	got  []byte
	done chan struct{}
}

func newChaosPeer(conn net.Conn, masked bool, rng *rand.Rand, unit time.Duration) *chaosPeer {
	p := &chaosPeer{
		conn: conn, rng: rand.New(rand.NewPCG(rng.Uint64(), 1)), unit: unit, piece: 3000,
		buffer: make([]byte, 700), leave: func() { _ = conn.Close() }, done: make(chan struct{}, 2),
	}
	p.stream = randomFrames(rng, masked, 1+rng.IntN(20), 5000)
	if rng.IntN(2) == 0 {
		p.stream = append(p.stream, wsframe.AppendClose(nil, 4000, "peer", masked)...)
	}
	p.readsUntil = time.Hour
	if rng.IntN(4) == 0 {
		p.readsUntil = p.units(20_000)
	}
	if rng.IntN(2) == 0 {
		p.leavesAt = p.units(20_000) + 1
	}
	return p
}

// units returns a random time below so many units.
func (p *chaosPeer) units(below int) time.Duration {
	return time.Duration(p.rng.IntN(below)) * p.unit
}

func (p *chaosPeer) start() {
	if p.leavesAt > 0 {
		time.AfterFunc(p.leavesAt, p.leave)
	}
	_ = p.conn.SetReadDeadline(time.Now().Add(p.readsUntil))
	go p.send()
	go p.receive()
}

func (p *chaosPeer) send() {
	defer func() { p.done <- struct{}{} }()
	for rest := p.stream; len(rest) > 0; {
		p.pause(300)
		n, err := p.conn.Write(rest[:min(len(rest), 1+p.rng.IntN(p.piece))])
		if err != nil {
			return
		}
		rest = rest[n:]
	}
}

func (p *chaosPeer) receive() {
	defer func() { p.done <- struct{}{} }()
	for {
		n, err := p.conn.Read(p.buffer)
		p.got = append(p.got, p.buffer[:n]...)
		if err != nil {
			return
		}
	}
}

// checkReceived wants what a peer got to be the beginning of what the other
// sent, perhaps with one close frame of ours, cut or not, after a whole frame.
func checkReceived(t *testing.T, who string, got, sent []byte) bool {
	t.Helper()
	if bytes.HasPrefix(sent, got) {
		return true
	}
	var s wsframe.Scanner
	at := 0
	for at < len(got) && bytes.HasPrefix(sent, got[:at]) {
		n := s.ScanToBoundary(got[at:])
		if !bytes.HasPrefix(sent, got[:at+n]) {
			break
		}
		at += n
	}
	ours := got[at:]
	var last wsframe.Scanner
	if ours[0] != 0x88 || last.ScanToBoundary(ours) != len(ours) {
		t.Errorf("the %s got %d bytes as sent, and then %.80q", who, at, ours)
		return false
	}
	return true
}

func TestWhateverHappensStreamsStayWholeAndTheEndComes(t *testing.T) {
	t.Parallel()
	seeds := uint64(1500)
	if testing.Short() {
		seeds = 200
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 9))
			f := onPipes(Config{WriteTimeout: 4 * time.Second, LingerTimeout: time.Second})
			client := &strictConn{Conn: f.Relay.client.conn.(net.Conn)}
			upstream := &strictConn{Conn: f.Relay.upstream.conn.(net.Conn)}
			f.Relay.client.conn, f.Relay.upstream.conn = client, upstream
			c := newChaosPeer(f.client, true, rng, time.Millisecond)
			u := newChaosPeer(f.upstream, false, rng, time.Millisecond)
			for _, p := range []*chaosPeer{c, u} {
				p.pause = func(longest int) { bubble.Elapse(p.units(longest)) }
				p.start()
			}
			// The gateway has the last word, so that every round ends.
			begin, ends := time.Now(), time.Duration(rng.IntN(25_000))*time.Millisecond
			time.AfterFunc(ends, func() { f.End(restart, goingAway) })
			f.run()
			f.end(t)
			if took, most := time.Since(begin), ends+maxLinger+5*time.Second; took > most {
				t.Errorf("took %v, want at most %v", took, most)
			}
			for _, p := range []*chaosPeer{c, u} {
				_ = p.conn.Close()
				<-p.done
				<-p.done
			}
			checkReceived(t, "client", c.got, u.stream)
			checkReceived(t, "upstream", u.got, c.stream)
			if client.closes.Load() != 1 || upstream.closes.Load() != 1 {
				t.Errorf("closed %d and %d times, want once each", client.closes.Load(), upstream.closes.Load())
			}
		})
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

// TestWhateverHappensOnSocketsStreamsStayWhole is the same over real sockets, plain
// and under TLS, where the kernel takes as much as it likes: with messages of
// 4 MiB, reads of single bytes, half-closes and resets.
func TestWhateverHappensOnSocketsStreamsStayWhole(t *testing.T) {
	t.Parallel()
	seeds := uint64(200)
	if testing.Short() {
		seeds = 50
	}
	for name, open := range map[string]func(testing.TB, Config) *fixture{"tcp": onTCP, "tls": onTLS} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			busy := make(chan struct{}, 16)
			var all sync.WaitGroup
			for seed := range seeds {
				busy <- struct{}{}
				all.Go(func() {
					defer func() { <-busy }()
					if !surviveChaos(t, open, seed) {
						t.Errorf("with seed %d", seed)
					}
				})
			}
			all.Wait()
		})
	}
}

func surviveChaos(t *testing.T, open func(testing.TB, Config) *fixture, seed uint64) bool {
	rng := rand.New(rand.NewPCG(seed, 10))
	f := open(t, Config{
		WriteTimeout: 20 * time.Millisecond, CloseTimeout: 50 * time.Millisecond, LingerTimeout: 10 * time.Millisecond,
	})
	c := newChaosPeer(f.client, true, rng, 2*time.Microsecond)
	u := newChaosPeer(f.upstream, false, rng, 2*time.Microsecond)
	for _, p := range []*chaosPeer{c, u} {
		p.pause = func(longest int) {
			for range p.rng.IntN(longest) {
				runtime.Gosched() // time does not pass on request here
			}
		}
		masked := p == c
		switch rng.IntN(4) {
		case 0:
			p.stream = append(frame(wsframe.Binary, masked, make([]byte, 4<<20)), p.stream...)
			p.piece = 1 << 20
		case 1:
			p.buffer = make([]byte, 1)
		case 2:
			p.buffer = make([]byte, 1<<20)
		}
		switch tcp := beneath(p.conn); rng.IntN(4) {
		case 0:
			p.leave = func() { _ = tcp.SetLinger(0); _ = tcp.Close() }
		case 1:
			p.leave = func() { _ = p.conn.(interface{ CloseWrite() error }).CloseWrite() }
		}
		p.start()
	}
	ending := time.AfterFunc(time.Duration(rng.IntN(50_000))*time.Microsecond, func() { f.End(restart, goingAway) })
	defer ending.Stop()
	f.run()
	f.end(t)
	for _, p := range []*chaosPeer{c, u} {
		_ = beneath(p.conn).Close()
		<-p.done
		<-p.done
	}
	return checkReceived(t, "client", c.got, u.stream) && checkReceived(t, "upstream", u.got, c.stream)
}
