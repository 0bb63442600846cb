package relay

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// randomFrames returns whole frames of all kinds but close, with random
// payloads of up to the given size.
func randomFrames(rng *rand.Rand, masked bool, frames, size int) []byte {
	ops := []wsframe.Opcode{wsframe.Continuation, wsframe.Text, wsframe.Binary, wsframe.Ping, wsframe.Pong, 0x5, 0xD}
	var stream []byte
	for range frames {
		op := ops[rng.IntN(len(ops))]
		limit := size
		if op >= wsframe.Close {
			limit = 125
		}
		payload := make([]byte, rng.IntN(limit+1))
		for i := range payload {
			payload[i] = byte(rng.Uint32())
		}
		f := frame(op, masked, payload)
		f[0] ^= byte(rng.IntN(8)) << 4 // the reserved bits
		stream = append(stream, f...)
	}
	return stream
}

// drip writes p in pieces of random sizes up to the given one.
func drip(rng *rand.Rand, c io.Writer, p []byte, piece int) {
	for len(p) > 0 {
		n, err := c.Write(p[:min(len(p), 1+rng.IntN(piece))])
		if err != nil {
			return
		}
		p = p[n:]
	}
}

func TestBytesPassUnchanged(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		piece int // what the peers write at once
		wrap  func(Conn) Conn
		tls   bool
	}{
		"sockets":               {64 << 10, func(c Conn) Conn { return c }, false},
		"sockets, small writes": {300, func(c Conn) Conn { return c }, false},
		"wrapped":               {64 << 10, func(c Conn) Conn { return wrapped{c.(net.Conn)} }, false},
		"wrapped, small writes": {300, func(c Conn) Conn { return wrapped{c.(net.Conn)} }, false},
		"TLS":                   {64 << 10, func(c Conn) Conn { return c }, true},
		"TLS, small writes":     {300, func(c Conn) Conn { return c }, true},
		"read byte by byte":     {300, func(c Conn) Conn { return byteConn{c.(net.Conn)} }, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(1, uint64(tt.piece)))
			size := 200_000
			if tt.piece < 1000 {
				size = 3000
			}
			fromClient := randomFrames(rng, true, 60, size)
			fromUpstream := randomFrames(rng, false, 60, size)
			fromClient = append(fromClient, maskedClose(1000, "client")...)
			fromUpstream = append(fromUpstream, closeFrame(1000, "upstream")...)

			// Cut inside a frame, as bytes that came with the handshake are.
			const earlyClient, earlyUpstream = 777, 3
			open := onTCP
			if tt.tls {
				open = onTLS
			}
			f := open(t, Config{
				EarlyFromClient:   fromClient[:earlyClient],
				EarlyFromUpstream: fromUpstream[:earlyUpstream],
				WriteTimeout:      time.Minute,
				CloseTimeout:      time.Minute,
			})
			f.Relay.client.conn = tt.wrap(f.Relay.client.conn)
			f.Relay.upstream.conn = tt.wrap(f.Relay.upstream.conn)
			toClient, toUpstream := record(f.client), record(f.upstream)
			f.run()
			go drip(rand.New(rand.NewPCG(2, 2)), f.client, fromClient[earlyClient:], tt.piece)
			drip(rand.New(rand.NewPCG(3, 3)), f.upstream, fromUpstream[earlyUpstream:], tt.piece)

			o := f.end(t)
			if got := <-toUpstream; !bytes.Equal(got.data, fromClient) {
				t.Errorf("the upstream got %d bytes that are not the client's %d (%v)", len(got.data), len(fromClient), got.err)
			}
			if got := <-toClient; !bytes.Equal(got.data, fromUpstream) {
				t.Errorf("the client got %d bytes that are not the upstream's %d (%v)", len(got.data), len(fromUpstream), got.err)
			}
			wantCounts(t, f, o, fromClient, fromUpstream)
		})
	}
}

// wantCounts wants the outcome to count what the streams hold.
func wantCounts(t *testing.T, f *fixture, o Outcome, fromClient, fromUpstream []byte) {
	t.Helper()
	var client, upstream wsframe.Scanner
	client.Scan(fromClient)
	upstream.Scan(fromUpstream)
	if o.FromClient != client.Counts() || o.FromUpstream != upstream.Counts() {
		t.Errorf("counted %+v and %+v, want %+v and %+v", o.FromClient, o.FromUpstream, client.Counts(), upstream.Counts())
	}
	if c, u := f.Counts(); c != o.FromClient || u != o.FromUpstream {
		t.Errorf("Counts() = %+v, %+v after the end, outcome %+v", c, u, o)
	}
}

// byteConn returns one byte per Read.
type byteConn struct{ net.Conn }

func (b byteConn) Read(p []byte) (int, error) { return b.Conn.Read(p[:min(1, len(p))]) }

// dataErrConn returns the last data together with the end of the stream.
type dataErrConn struct {
	net.Conn
	r io.Reader
}

func (d *dataErrConn) Read(p []byte) (int, error) { return d.r.Read(p) }

func TestDataThatComesWithTheEndIsDelivered(t *testing.T) {
	t.Parallel()
	f := onTCP(t, Config{})
	f.Relay.client.conn = &dataErrConn{f.Relay.client.conn.(net.Conn), iotest.DataErrReader(f.Relay.client.conn)}
	f.run()
	mustWrite(t, f.client, maskedText("last words"))
	if err := f.client.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	mustRead(t, f.upstream, maskedText("last words"))
	mustReadClose(t, f.upstream, Close{1011, "client vanished"})
	f.upstream.Close()
	wantEnd(t, f.end(t), Client, 1011, "client vanished")
}

func TestResetClientGivesUpstream1011(t *testing.T) {
	t.Parallel()
	f := onTCP(t, Config{})
	f.run()
	mustWrite(t, f.client, maskedText("hi"))
	mustRead(t, f.upstream, maskedText("hi"))
	if err := f.client.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	f.client.Close()
	mustReadClose(t, f.upstream, Close{1011, "client vanished"})
	mustWrite(t, f.upstream, closeFrame(1011, ""))
	wantEnd(t, f.end(t), Client, 1011, "client vanished")
	wantEOF(t, f.upstream)
}

func TestTCPHalfCloseDeliversTheRestFirst(t *testing.T) {
	t.Parallel()
	f := onTCP(t, Config{LingerTimeout: 3 * time.Second, CloseTimeout: time.Minute})
	f.run()
	question := maskedText("a question")
	mustWrite(t, f.client, question)
	if err := f.client.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	mustRead(t, f.upstream, question)
	rest := frame(wsframe.Binary, false, bytes.Repeat([]byte("answer"), 1_000_000))
	go func() { _, _ = f.upstream.Write(rest) }()
	mustRead(t, f.client, rest)
	mustReadClose(t, f.upstream, Close{1011, "client vanished"})
	mustWrite(t, f.upstream, closeFrame(1011, "bye"))
	mustReadClose(t, f.client, Close{1011, "bye"})
	wantEnd(t, f.end(t), Client, 1011, "client vanished")
}

// TestEndUnderBackpressure stops reading at one side until the flood from the
// other has filled everything, ends the connection, and then reads on.
func TestEndUnderBackpressure(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		f := onTCP(t, Config{CloseTimeout: time.Minute})
		f.run()
		rng := rand.New(rand.NewPCG(seed, 5))
		flood := bytes.Repeat(frame(wsframe.Binary, true, make([]byte, 1+rng.IntN(100_000))), 4)
		go func() {
			for {
				if _, err := f.client.Write(flood); err != nil {
					return
				}
			}
		}()
		f.waitUntilStalled(t)

		f.End(restart, goingAway)
		// Only now is anything read, and the upstream answers.
		var got bytes.Buffer
		var s wsframe.Scanner
		p := make([]byte, 4096)
		for s.Counts().Closes == 0 {
			n, err := f.upstream.Read(p)
			if err != nil {
				t.Fatalf("after %d bytes: %v", got.Len(), err)
			}
			s.Scan(p[:n])
			got.Write(p[:n])
		}
		mustWrite(t, f.upstream, closeFrame(1001, ""))
		if _, c := closeOf(t, got.Bytes()); c != goingAway {
			t.Errorf("the upstream got %+v, want %+v", c, goingAway)
		}
		mustReadClose(t, f.client, restart)
		f.client.Close()
		wantEnd(t, f.end(t), Gateway, restart.Code, restart.Reason)
	}
}

// waitUntilStalled waits until a write to the upstream has been in progress for
// a while without anything passing.
func (f *fixture) waitUntilStalled(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var before wsframe.Counts
	for same := 0; same < 5; {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("never stalled")
		}
		f.mu.Lock()
		writing := f.Relay.upstream.writing
		f.mu.Unlock()
		now, _ := f.Counts()
		if writing && now == before {
			same++
		} else {
			same = 0
		}
		before = now
	}
}

// TestCloseFrameNeverEntersAFrame ends connections at random moments while
// frames of 4 MiB stream through in pieces of every size, and has the receiver
// take the stream apart.
func TestCloseFrameNeverEntersAFrame(t *testing.T) {
	t.Parallel()
	big := frame(wsframe.Binary, true, bytes.Repeat([]byte("0123456789abcdef"), 4<<20/16))
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	for round := range rounds {
		rng := rand.New(rand.NewPCG(uint64(round), 7))
		f := onTCP(t, Config{CloseTimeout: time.Minute, WriteTimeout: time.Minute})
		f.run()
		got := make(chan []byte, 1)
		go f.readThenAnswer(got, int64(rng.IntN(len(big))), rng)
		go streamThenAnswer(f.client, rng.Uint64(), big)

		o := f.end(t)
		wantEnd(t, o, Gateway, restart.Code, restart.Reason)
		before, c := closeOf(t, <-got)
		if c != goingAway {
			t.Fatalf("round %d: the upstream got %+v, want %+v", round, c, goingAway)
		}
		if len(before)%len(big) != 0 {
			t.Fatalf("round %d: %d bytes ahead of the close frame are not whole frames", round, len(before))
		}
		for ; len(before) > 0; before = before[len(big):] {
			if !bytes.Equal(before[:len(big)], big) {
				t.Fatalf("round %d: a frame was changed", round)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// readThenAnswer plays the upstream: after so many bytes it has the gateway end
// the connection, reads up to the close frame, answers and delivers what it got.
func (f *fixture) readThenAnswer(got chan<- []byte, after int64, rng *rand.Rand) {
	var data bytes.Buffer
	var s wsframe.Scanner
	in := io.TeeReader(f.upstream, &data)
	p := make([]byte, 64<<10)
	if _, err := io.CopyN(&scanWriter{&s}, in, after); err != nil {
		got <- data.Bytes()
		return
	}
	go f.End(restart, goingAway)
	for s.Counts().Closes == 0 {
		n, err := in.Read(p[:1+rng.IntN(len(p))])
		s.Scan(p[:n])
		if err != nil {
			break
		}
	}
	_, _ = f.upstream.Write(closeFrame(1001, ""))
	rest, _ := io.ReadAll(f.upstream) // there must be none
	got <- append(data.Bytes(), rest...)
}

type scanWriter struct{ *wsframe.Scanner }

func (w *scanWriter) Write(p []byte) (int, error) {
	w.Scan(p)
	return len(p), nil
}

// streamThenAnswer plays a client that sends the frame over and over until a
// close frame comes, finishes the frame that it has begun, and answers.
func streamThenAnswer(c net.Conn, seed uint64, big []byte) {
	closing := make(chan struct{})
	go func() {
		defer close(closing)
		_, _ = c.Read(make([]byte, 256))
	}()
	rng := rand.New(rand.NewPCG(seed, 8))
	for {
		select {
		case <-closing:
			_, _ = c.Write(maskedClose(1012, ""))
			return
		default:
		}
		for i := range 64 { // the header and the first bytes one by one
			_, _ = c.Write(big[i : i+1])
		}
		drip(rng, c, big[64:], 64<<10)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	for round := range 50 {
		f := onTCP(t, Config{CloseTimeout: time.Second})
		f.run()
		mustWrite(t, f.client, maskedText("hi"))
		mustRead(t, f.upstream, maskedText("hi"))
		if round%2 == 0 {
			f.End(restart, goingAway)
		}
		f.client.Close()
		f.upstream.Close()
		f.end(t)
	}
	stacks := make([]byte, 1<<20)
	eventually(t, "the relay to be on no stack", func() bool {
		return !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "relay.(*Relay).")
	})
}

func TestOneFloodDoesNotHoldUpTheOthers(t *testing.T) {
	t.Parallel()
	flood := onTCP(t, Config{})
	flood.run()
	go func() {
		for big := frame(2, true, make([]byte, 1<<20)); ; {
			if _, err := flood.client.Write(big); err != nil {
				return
			}
		}
	}()
	go func() { _, _ = io.Copy(io.Discard, flood.upstream) }()
	f := onTCP(t, Config{})
	f.run()
	for range 200 {
		mustWrite(t, f.client, maskedText("hi"))
		mustRead(t, f.upstream, maskedText("hi"))
	}
	for _, c := range []io.Closer{f.client, f.upstream, flood.client, flood.upstream} {
		c.Close()
	}
	f.end(t)
	flood.end(t)
}
