package relay

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// frame returns a whole frame. From a client it is masked, with zeros, so that
// payloads can be compared.
func frame(op wsframe.Opcode, masked bool, payload []byte) []byte {
	var mask byte
	if masked {
		mask = 0x80
	}
	b := []byte{0x80 | byte(op)}
	switch n := len(payload); {
	case n <= 125:
		b = append(b, mask|byte(n))
	case n <= 0xFFFF:
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, mask|127), uint64(n))
	}
	if masked {
		b = append(b, 0, 0, 0, 0)
	}
	return append(b, payload...)
}

func text(s string) []byte       { return frame(wsframe.Text, false, []byte(s)) }
func maskedText(s string) []byte { return frame(wsframe.Text, true, []byte(s)) }

func closeFrame(code int, reason string) []byte {
	return wsframe.AppendClose(nil, code, reason, false)
}

func maskedClose(code int, reason string) []byte {
	return wsframe.AppendClose(nil, code, reason, true)
}

// recording is everything that a peer got until its stream ended.
type recording struct {
	data []byte
	err  error // nil at a clean end
}

// record reads a peer's conn to its end.
func record(c io.Reader) <-chan recording {
	got := make(chan recording, 1)
	go func() {
		data, err := io.ReadAll(c)
		got <- recording{data, err}
	}()
	return got
}

// closeOf returns what the one close frame in a stream says. The stream must
// consist of whole frames and end with it; before is what came ahead of it.
func closeOf(t *testing.T, stream []byte) (before []byte, c Close) {
	t.Helper()
	var s wsframe.Scanner
	var last int
	for at := 0; at < len(stream); {
		last = at
		at += s.ScanToBoundary(stream[at:])
	}
	code, reason, ok := s.Close()
	switch {
	case !s.AtBoundary():
		t.Fatalf("stream of %d bytes ends inside a frame", len(stream))
	case !ok:
		t.Fatalf("no close frame in a stream of %d bytes", len(stream))
	case s.Counts().Closes != 1 || stream[last]&0x0F != byte(wsframe.Close):
		t.Fatalf("something follows the close frame: %+v", s.Counts())
	}
	return stream[:last], Close{code, reason}
}

// tcpPair returns the two ends of a TCP connection: ours and the peer's.
func tcpPair(tb testing.TB) (ours, peer *net.TCPConn) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	out, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	in, err := l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { in.Close(); out.Close() })
	return in.(*net.TCPConn), out.(*net.TCPConn)
}

// fixture is a relay between two peers that the test plays.
type fixture struct {
	*Relay
	client, upstream net.Conn // the peers' ends
	outcome          chan Outcome
	keeper           *keeper
	buffers          *bufferSource
}

// run starts the relay, on the loop where there is one and the conns are plain.
func (f *fixture) run() {
	if f.keeper != sharedKeeper {
		f.runOnGoroutines()
		return
	}
	f.Start(func(o Outcome) { f.outcome <- o })
}

// runOnGoroutines starts the relay without the loop.
func (f *fixture) runOnGoroutines() {
	go func() { f.outcome <- f.Relay.run(f.keeper, f.buffers) }()
}

// end waits for the relay to have ended.
func (f *fixture) end(tb testing.TB) Outcome {
	tb.Helper()
	return take(tb, "the relay to end", f.outcome)
}

// patience is how long a test waits for what must happen.
const patience = time.Minute

// take receives a value from ch, or fails the test if none comes in time.
func take[T any](tb testing.TB, what string, ch <-chan T) (v T) {
	tb.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case v = <-ch:
	case <-late.C:
		tb.Fatalf("waited %v in vain for %s", patience, what)
	}
	return v
}

// eventually fails the test if done does not come true in time.
func eventually(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	late := time.Now().Add(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		if time.Now().After(late) {
			tb.Fatalf("waited %v in vain for %s", patience, what)
		}
		<-tick.C
	}
}

// onPipes makes a relay between in-memory conns, for use with synctest.
func onPipes(c Config) *fixture {
	ourClient, client := net.Pipe()
	ourUpstream, upstream := net.Pipe()
	c.Client, c.Upstream = ourClient, ourUpstream
	// A bubble has timers of its own.
	return &fixture{New(c), client, upstream, make(chan Outcome, 1), newKeeper((*Relay).timeDue), &sharedBuffers}
}

// onTCP makes a relay between TCP conns.
func onTCP(tb testing.TB, c Config) *fixture {
	tb.Helper()
	ourClient, client := tcpPair(tb)
	ourUpstream, upstream := tcpPair(tb)
	c.Client, c.Upstream = ourClient, ourUpstream
	return &fixture{New(c), client, upstream, make(chan Outcome, 1), sharedKeeper, &sharedBuffers}
}

// onTLS makes a relay between a client over TLS and an upstream over TCP.
func onTLS(tb testing.TB, c Config) *fixture {
	tb.Helper()
	f := onTCP(tb, c)
	f.Relay.client.conn, f.client = secure(tb, f.Relay.client.conn.(net.Conn), f.client, 0)
	return f
}

// secure shakes hands over a pair of conns: the first becomes the server's. The
// version is the highest allowed, or 0.
func secure(tb testing.TB, server, client net.Conn, version uint16) (*tls.Conn, *tls.Conn) {
	tb.Helper()
	s := tls.Server(server, &tls.Config{Certificates: []tls.Certificate{certificate(tb)}, MaxVersion: version})
	c := tls.Client(client, &tls.Config{InsecureSkipVerify: true})
	shaken := make(chan error, 1)
	go func() { shaken <- s.Handshake() }()
	if err := errors.Join(c.Handshake(), <-shaken); err != nil {
		tb.Fatal(err)
	}
	return s, c
}

// certificate makes one of no authority.
func certificate(tb testing.TB) tls.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// beneath returns the TCP conn of a peer.
func beneath(c net.Conn) *net.TCPConn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return c.(*net.TCPConn)
}

func mustWrite(tb testing.TB, c io.Writer, p []byte) {
	tb.Helper()
	if _, err := c.Write(p); err != nil {
		tb.Fatalf("writing: %v", err)
	}
}

func mustRead(tb testing.TB, c io.Reader, want []byte) {
	tb.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		tb.Fatalf("reading: %v", err)
	}
	if string(got) != string(want) {
		tb.Fatalf("read %.60q, want %.60q", got, want)
	}
}

// mustReadClose reads one close frame, which is all that may come.
func mustReadClose(tb testing.TB, c io.Reader, want Close) {
	tb.Helper()
	var s wsframe.Scanner
	b := make([]byte, 1)
	for n := 0; n == 0 || !s.AtBoundary(); n++ {
		if _, err := io.ReadFull(c, b); err != nil {
			tb.Fatalf("reading a close frame: %v", err)
		}
		s.Scan(b)
	}
	code, reason, ok := s.Close()
	if !ok || code != want.Code || reason != want.Reason {
		tb.Fatalf("read close frame %d %q (%v), want %d %q", code, reason, ok, want.Code, want.Reason)
	}
}

func wantEnd(tb testing.TB, o Outcome, by Party, code int, reason string) {
	tb.Helper()
	if o.By != by || o.Code != code || o.Reason != reason {
		tb.Errorf("ended by %v with %d %q, want by %v with %d %q", o.By, o.Code, o.Reason, by, code, reason)
	}
}

// wantEOF waits for a clean end of the stream.
func wantEOF(tb testing.TB, c io.Reader) {
	tb.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		tb.Fatalf("read %d bytes and %v, want the end of the stream", n, err)
	}
}
