//go:build !noloop && !386

package relay

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"regexp"
	"testing"
	"time"
)

// The types of records and what the tests put into them (RFC 8446, sections 4.6.3,
// 5 and 6).
const (
	recordAlert     = 21
	recordHandshake = 22
	recordData      = 23
)

var (
	userCanceled   = []byte{1, 90}
	keyUpdate      = []byte{24, 0, 0, 1, 0}
	keyUpdateAsked = []byte{24, 0, 0, 1, 1}
)

// stranger is a client that writes and reads records of its own making, as
// crypto/tls never would.
type stranger struct {
	*net.TCPConn
	out, in keys
}

// keys are the keys of one direction in TLS 1.3.
type keys struct {
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
}

func newKeys(tb testing.TB, secret []byte) keys {
	tb.Helper()
	aead, err := newAEAD(expand(tb, secret, "key", 16))
	if err != nil {
		tb.Fatal(err)
	}
	return keys{secret: secret, aead: aead, iv: expand(tb, secret, "iv", 12)}
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// expand is HKDF-Expand-Label without a context (RFC 8446, section 7.1).
func expand(tb testing.TB, secret []byte, label string, size int) []byte {
	tb.Helper()
	label = "tls13 " + label
	info := string([]byte{0, byte(size), byte(len(label))}) + label + "\x00"
	out, err := hkdf.Expand(sha256.New, secret, info, size)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// update goes on to the next keys.
func (k *keys) update(tb testing.TB) {
	tb.Helper()
	*k = newKeys(tb, expand(tb, k.secret, "traffic upd", 32))
}

func (k *keys) nonce() []byte {
	nonce := bytes.Clone(k.iv)
	at := nonce[len(nonce)-8:]
	binary.BigEndian.PutUint64(at, binary.BigEndian.Uint64(at)^k.seq)
	k.seq++
	return nonce
}

// withStranger makes a relay between a stranger and an upstream over TCP.
func withStranger(tb testing.TB, c Config) (*fixture, *stranger) {
	tb.Helper()
	f := onTCP(tb, c)
	var log bytes.Buffer
	server := tls.Server(f.Relay.client.conn.(net.Conn), &tls.Config{
		Certificates: []tls.Certificate{certificate(tb)}, SessionTicketsDisabled: true,
	})
	client := tls.Client(f.client, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, KeyLogWriter: &log})
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	if err := errors.Join(client.Handshake(), <-shaken); err != nil {
		tb.Fatal(err)
	}
	if client.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		tb.Skip("no AES in hardware: another cipher was chosen")
	}
	secret := func(of string) []byte {
		found := regexp.MustCompile(of + `_TRAFFIC_SECRET_0 \w+ (\w+)`).FindStringSubmatch(log.String())
		p, err := hex.DecodeString(found[1])
		if err != nil {
			tb.Fatal(err)
		}
		return p
	}
	f.Relay.client.conn = server
	s := &stranger{f.client.(*net.TCPConn), newKeys(tb, secret("CLIENT")), newKeys(tb, secret("SERVER"))}
	_ = s.SetDeadline(time.Now().Add(20 * time.Second))
	_ = f.upstream.SetDeadline(time.Now().Add(20 * time.Second))
	return f, s
}

// seal makes a record, with so many zeros behind what it says.
func (s *stranger) seal(kind byte, p []byte, padding int) []byte {
	inner := append(append(bytes.Clone(p), kind), make([]byte, padding)...)
	size := len(inner) + s.out.aead.Overhead()
	header := []byte{recordData, 3, 3, byte(size >> 8), byte(size)}
	return s.out.aead.Seal(header, s.out.nonce(), inner, header)
}

// next reads a record.
func (s *stranger) next(tb testing.TB) (kind byte, p []byte) {
	tb.Helper()
	header := make([]byte, recordHeaderSize)
	if _, err := io.ReadFull(s, header); err != nil {
		tb.Fatalf("reading a record: %v", err)
	}
	p = make([]byte, binary.BigEndian.Uint16(header[3:]))
	if _, err := io.ReadFull(s, p); err != nil {
		tb.Fatalf("reading a record: %v", err)
	}
	p, err := s.in.aead.Open(p[:0], s.in.nonce(), p, header)
	if err != nil {
		tb.Fatalf("opening a record: %v", err)
	}
	p = bytes.TrimRight(p, "\x00")
	return p[len(p)-1], p[:len(p)-1]
}

func (s *stranger) wants(tb testing.TB, kind byte, p []byte) {
	tb.Helper()
	if k, got := s.next(tb); k != kind || !bytes.Equal(got, p) {
		tb.Fatalf("got a record of type %d that says %.40q, want type %d and %.40q", k, got, kind, p)
	}
}

// startAnd runs a test with what the stranger says after the relay has begun,
// and with what it says before, on the loop and without it.
func startAnd(t *testing.T, say func(t *testing.T, f *fixture, s *stranger) (written []byte), then func(*testing.T, *fixture, *stranger)) {
	t.Helper()
	for name, how := range map[string]struct{ loop, early bool }{
		"on the loop":           {true, false},
		"before the loop":       {true, true},
		"on goroutines":         {false, false},
		"before the goroutines": {false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, s := withStranger(t, Config{CloseTimeout: time.Minute})
			run := f.run
			if !how.loop {
				run = f.runOnGoroutines
			}
			first := s.seal(recordData, maskedText("0"), 0)
			if !how.early {
				run()
			}
			mustWrite(t, s, append(first, say(t, f, s)...))
			if how.early {
				// Half of the first record is read, and what is behind it read ahead.
				early := make([]byte, 3)
				f.Relay.client.kept = keep(early)
				if _, err := io.ReadFull(f.Relay.client.conn, early); err != nil {
					t.Fatal(err)
				}
				run()
			}
			mustRead(t, f.upstream, maskedText("0"))
			then(t, f, s)
			s.Close()
			f.upstream.Close()
			f.end(t)
		})
	}
}

func TestDataBehindUserCanceledIsRelayed(t *testing.T) {
	t.Parallel()
	startAnd(t, func(_ *testing.T, _ *fixture, s *stranger) []byte {
		return append(s.seal(recordAlert, userCanceled, 0), s.seal(recordData, maskedText("1"), 0)...)
	}, func(t *testing.T, f *fixture, s *stranger) {
		mustRead(t, f.upstream, maskedText("1"))
		mustWrite(t, s, s.seal(recordData, maskedText("2"), 0))
		mustRead(t, f.upstream, maskedText("2"))
	})
}

func TestKeysAreUpdated(t *testing.T) {
	t.Parallel()
	startAnd(t, func(t *testing.T, _ *fixture, s *stranger) []byte {
		p := s.seal(recordHandshake, keyUpdateAsked, 0)
		s.out.update(t)
		p = append(p, s.seal(recordData, maskedText("1"), 100)...)
		p = append(p, s.seal(recordHandshake, keyUpdate, 0)...)
		s.out.update(t)
		return append(p, s.seal(recordData, maskedText("2"), 0)...)
	}, func(t *testing.T, f *fixture, s *stranger) {
		mustRead(t, f.upstream, append(maskedText("1"), maskedText("2")...))
		s.wants(t, recordHandshake, keyUpdate)
		s.in.update(t)
		mustWrite(t, f.upstream, text("back"))
		s.wants(t, recordData, text("back"))
	})
}

// TestHandshakeMessageInPieces splits a key update over records, and those over
// segments.
func TestHandshakeMessageInPieces(t *testing.T) {
	t.Parallel()
	f, s := withStranger(t, Config{})
	f.run()
	mustWrite(t, s, s.seal(recordHandshake, keyUpdateAsked[:2], 0))
	last := s.seal(recordHandshake, keyUpdateAsked[2:], 0)
	s.out.update(t)
	mustWrite(t, s, last[:7])
	mustWrite(t, f.upstream, text("back"))
	s.wants(t, recordData, text("back"))
	mustWrite(t, s, last[7:])
	s.wants(t, recordHandshake, keyUpdate)
	s.in.update(t)
	mustWrite(t, s, s.seal(recordData, maskedText("1"), 0))
	mustRead(t, f.upstream, maskedText("1"))
	s.Close()
	f.upstream.Close()
	f.end(t)
}

func TestRecordsOfAllSizesAreRelayed(t *testing.T) {
	t.Parallel()
	f, s := withStranger(t, Config{})
	f.run()
	const most = 16 << 10
	sizes := []struct{ data, padding int }{{most, 0}, {1, 0}, {0, 0}, {0, most}, {1, most - 1}, {most - 1, 1}, {2, 0}}
	total := 0
	for _, size := range sizes {
		total += size.data
	}
	want := frame(2, true, make([]byte, total))
	wire := s.seal(recordData, want[:len(want)-total], 0)
	for _, size := range sizes {
		wire = append(wire, s.seal(recordData, make([]byte, size.data), size.padding)...)
	}
	mustWrite(t, s, wire)
	mustRead(t, f.upstream, want)
	s.Close()
	f.upstream.Close()
	f.end(t)
}
