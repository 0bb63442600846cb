//go:build !noloop && !386

package relay

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// dripping writes in pieces of random sizes, so that records come in parts.
type dripping struct {
	*net.TCPConn
	rng   *rand.Rand
	piece int
}

func (d dripping) Write(p []byte) (int, error) {
	drip(d.rng, d.TCPConn, p, d.piece)
	return len(p), nil
}

func TestRecordsThatComeInPartsAreRelayed(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		version     uint16
		piece, size int
	}{
		"TLS 1.3, byte by byte":  {tls.VersionTLS13, 1, 100},
		"TLS 1.3, small parts":   {tls.VersionTLS13, 1000, 50_000},
		"TLS 1.3, many at once":  {tls.VersionTLS13, 1 << 20, 200_000},
		"TLS 1.2, small parts":   {tls.VersionTLS12, 1000, 50_000},
		"TLS 1.2, parts of 100K": {tls.VersionTLS12, 100_000, 200_000},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(2, uint64(tt.piece)))
			f := onTCP(t, Config{WriteTimeout: time.Minute})
			wire := dripping{f.client.(*net.TCPConn), rng, tt.piece}
			f.Relay.client.conn, f.client = secure(t, f.Relay.client.conn.(net.Conn), wire, tt.version)
			sent := randomFrames(rand.New(rand.NewPCG(3, 3)), true, 40, tt.size)
			sent = append(sent, maskedClose(1000, "")...)
			f.run()
			if f.place.loop == nil {
				t.Error("not on the loop")
			}
			got := record(f.upstream)
			mustWrite(t, f.client, sent)
			mustWrite(t, f.upstream, closeFrame(1000, ""))
			f.end(t)
			if r := <-got; !bytes.Equal(r.data, sent) {
				t.Errorf("%d bytes came, not the %d that were sent", len(r.data), len(sent))
			}
		})
	}
}

// noting keeps what it reads.
type noting struct {
	*net.TCPConn
	read *bytes.Buffer
}

func (n noting) Read(p []byte) (int, error) {
	got, err := n.TCPConn.Read(p)
	n.read.Write(p[:got])
	return got, err
}

// TestFirstRecordsAreSmall, a packet each and then some, so that a peer whose way is new
// can open what has come, and later ones are as large as they may be.
func TestFirstRecordsAreSmall(t *testing.T) {
	t.Parallel()
	const packet = 1208
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			t.Parallel()
			f := onTCP(t, Config{WriteTimeout: time.Minute})
			wire := noting{f.client.(*net.TCPConn), new(bytes.Buffer)}
			f.Relay.client.conn, f.client = secure(t, f.Relay.client.conn.(net.Conn), wire, version)
			forgetSettings(f.Relay.client.conn, tlsIsKnown) // as New does
			wire.read.Reset()
			f.run()
			if f.place.loop == nil {
				t.Error("not on the loop")
			}
			sent := frame(wsframe.Binary, false, make([]byte, 300_000))
			go func() { _, _ = f.upstream.Write(sent) }()
			mustRead(t, f.client, sent)
			var sizes []int
			for p := wire.read.Bytes(); len(p) >= recordHeaderSize; {
				size := recordHeaderSize + int(p[3])<<8 + int(p[4])
				sizes = append(sizes, size)
				p = p[min(size, len(p)):]
			}
			for i, size := range sizes[:8] {
				if size > (i+1)*packet {
					t.Errorf("record %d has %d bytes", i+1, size)
				}
			}
			if largest := slices.Max(sizes); largest < 16<<10 {
				t.Errorf("no record of %d has more than %d bytes", len(sizes), largest)
			}
			_ = f.client.Close()
			_ = f.upstream.Close()
			f.end(t)
		})
	}
}

// TestTLSOnBothSides has an upstream that is spoken to over TLS as well.
func TestTLSOnBothSides(t *testing.T) {
	t.Parallel()
	f := onTLS(t, Config{WriteTimeout: time.Minute})
	f.upstream, f.Relay.upstream.conn = secure(t, f.upstream, f.Relay.upstream.conn.(net.Conn), 0)
	f.run()
	if f.place.loop == nil {
		t.Error("not on the loop")
	}
	big := frame(wsframe.Binary, true, bytes.Repeat([]byte("up"), 1<<20))
	go func() { _, _ = f.client.Write(big) }()
	mustRead(t, f.upstream, big)
	big = frame(wsframe.Binary, false, bytes.Repeat([]byte("down"), 1<<19))
	go func() { _, _ = f.upstream.Write(big) }()
	mustRead(t, f.client, big)
	f.End(restart, goingAway)
	mustReadClose(t, f.client, restart)
	mustWrite(t, f.client, maskedClose(restart.Code, restart.Reason))
	mustReadClose(t, f.upstream, goingAway)
	mustWrite(t, f.upstream, closeFrame(goingAway.Code, goingAway.Reason))
	wantEnd(t, f.end(t), Gateway, restart.Code, restart.Reason)
	wantEOF(t, f.client)
	wantEOF(t, f.upstream)
}

// TestWhatTLSHasReadAheadIsNotLost starts when the tls.Conn holds the rest of a
// record, whole records, and the end.
func TestWhatTLSHasReadAheadIsNotLost(t *testing.T) {
	t.Parallel()
	f := onTLS(t, Config{})
	first := frame(wsframe.Binary, true, bytes.Repeat([]byte("1"), 9000))
	for _, p := range [][]byte{first, maskedText("2"), maskedText("3"), maskedClose(1000, "bye")} {
		mustWrite(t, f.client, p)
	}
	if err := f.client.(*tls.Conn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	early := make([]byte, 100)
	if _, err := io.ReadFull(f.Relay.client.conn, early); err != nil {
		t.Fatal(err)
	}
	f.Relay.client.kept = keep(early)
	f.run()
	for _, p := range [][]byte{first, maskedText("2"), maskedText("3")} {
		mustRead(t, f.upstream, p)
	}
	mustReadClose(t, f.upstream, Close{1000, "bye"})
	mustWrite(t, f.upstream, closeFrame(1000, "bye"))
	wantEnd(t, f.end(t), Client, 1000, "bye")
}

func TestForgedRecordEndsTheConnection(t *testing.T) {
	t.Parallel()
	tests := map[string][]byte{
		"not authentic": append([]byte{23, 3, 3, 0, 100}, make([]byte, 100)...),
		"too long":      {23, 3, 3, 255, 255},
		"no record":     []byte("GET / HTTP/1.1\r\n\r\n"),
	}
	for name, forged := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := onTLS(t, Config{})
			f.run()
			mustWrite(t, f.client, maskedText("true"))
			mustRead(t, f.upstream, maskedText("true"))
			mustWrite(t, beneath(f.client), forged)
			mustReadClose(t, f.upstream, Close{1011, "client vanished"})
			f.upstream.Close()
			wantEnd(t, f.end(t), Client, 1011, "client vanished")
			if _, err := f.client.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("the client reads %v, want an alert", err)
			}
		})
	}
}

func TestClientsSessionForgetsWhatItWasAcceptedWith(t *testing.T) {
	f := onTCP(t, Config{})
	collected := make(chan struct{})
	func() {
		config := &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
		runtime.AddCleanup(config, func(c chan struct{}) { close(c) }, collected)
		ours := tls.Server(f.Relay.client.conn.(net.Conn), config)
		peer := tls.Client(f.client, &tls.Config{InsecureSkipVerify: true})
		shaken := make(chan error, 1)
		go func() { shaken <- ours.Handshake() }()
		if err := peer.Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := <-shaken; err != nil {
			t.Fatal(err)
		}
		f.Relay = New(Config{Client: ours, Upstream: f.Relay.upstream.conn})
		f.client = peer
	}()
	f.run()
	mustWrite(t, f.client, maskedText("hi"))
	mustRead(t, f.upstream, maskedText("hi"))
	runtime.GC()
	runtime.GC()
	take(t, "the configuration that a quiet session was accepted with to be collected", collected)
	mustWrite(t, f.upstream, text("ho"))
	mustRead(t, f.client, text("ho"))
	f.client.Close()
	f.upstream.Close()
	f.end(t)
}

// FuzzRecords gives the loop whatever a stranger sends instead of records.
func FuzzRecords(f *testing.F) {
	f.Add([]byte{23, 3, 3, 0, 0})
	f.Add([]byte{21, 3, 3, 0, 2, 1, 0})
	f.Add([]byte{22, 3, 3, 0, 5, 24, 0, 0, 1, 1})
	f.Fuzz(func(t *testing.T, p []byte) {
		x := onTLS(t, Config{CloseTimeout: time.Second})
		x.run()
		mustWrite(t, beneath(x.client), p)
		beneath(x.client).Close()
		mustReadClose(t, x.upstream, Close{1011, "client vanished"})
		x.upstream.Close()
		x.end(t)
	})
}
