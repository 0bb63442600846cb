package relay

import (
	"bytes"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// chaosPeer plays a peer in virtual time: it sends a stream in pieces with
// pauses, perhaps stops reading for good, and perhaps goes away.
type chaosPeer struct {
	conn       net.Conn
	stream     []byte
	rng        *rand.Rand
	readsUntil time.Duration
	leavesAt   time.Duration // 0 for never

	got  []byte
	done chan struct{}
}

func newChaosPeer(conn net.Conn, masked bool, rng *rand.Rand) *chaosPeer {
	p := &chaosPeer{conn: conn, rng: rand.New(rand.NewPCG(rng.Uint64(), 1)), done: make(chan struct{}, 2)}
	p.stream = randomFrames(rng, masked, 1+rng.IntN(20), 5000)
	if rng.IntN(2) == 0 {
		p.stream = append(p.stream, wsframe.AppendClose(nil, 4000, "peer", masked)...)
	}
	p.readsUntil = time.Hour
	if rng.IntN(4) == 0 {
		p.readsUntil = time.Duration(rng.IntN(20_000)) * time.Millisecond
	}
	if rng.IntN(2) == 0 {
		p.leavesAt = time.Duration(1+rng.IntN(20_000)) * time.Millisecond
	}
	return p
}

func (p *chaosPeer) start() {
	if p.leavesAt > 0 {
		time.AfterFunc(p.leavesAt, func() { _ = p.conn.Close() })
	}
	_ = p.conn.SetReadDeadline(time.Now().Add(p.readsUntil))
	go p.send()
	go p.receive()
}

func (p *chaosPeer) send() {
	defer func() { p.done <- struct{}{} }()
	for rest := p.stream; len(rest) > 0; {
		time.Sleep(time.Duration(p.rng.IntN(300)) * time.Millisecond)
		n, err := p.conn.Write(rest[:min(len(rest), 1+p.rng.IntN(3000))])
		if err != nil {
			return
		}
		rest = rest[n:]
	}
}

func (p *chaosPeer) receive() {
	defer func() { p.done <- struct{}{} }()
	b := make([]byte, 700)
	for {
		n, err := p.conn.Read(b)
		p.got = append(p.got, b[:n]...)
		if err != nil {
			return
		}
	}
}

// checkReceived wants what a peer got to be the beginning of what the other
// sent, perhaps with one close frame of ours, cut or not, after a whole frame.
func checkReceived(t *testing.T, who string, got, sent []byte) {
	t.Helper()
	if bytes.HasPrefix(sent, got) {
		return
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
	}
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
			c := newChaosPeer(f.client, true, rng)
			u := newChaosPeer(f.upstream, false, rng)
			c.start()
			u.start()
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
