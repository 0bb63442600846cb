//go:build !noloop && !386

package relay

import (
	"bytes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net"
	"regexp"
	"testing"
	"time"
)

// TLS 1.2 shows on the wire which records are alerts, and crypto/tls looks ahead
// for those.

// oldKeys are the keys of what a client writes in TLS 1.2.
type oldKeys struct {
	aead cipher.AEAD
	salt []byte
	seq  uint64
}

// listening keeps what is read.
type listening struct {
	net.Conn
	heard bytes.Buffer
}

func (l *listening) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	l.heard.Write(p[:n])
	return n, err
}

// withOldStranger makes a relay between a client that makes its own records of
// TLS 1.2 and an upstream over TCP.
func withOldStranger(tb testing.TB, c Config) (*fixture, *oldKeys) {
	tb.Helper()
	f := onTCP(tb, c)
	var log bytes.Buffer
	wire := &listening{Conn: f.client}
	server := tls.Server(f.Relay.client.conn.(net.Conn), &tls.Config{
		Certificates: []tls.Certificate{certificate(tb)}, MaxVersion: tls.VersionTLS12,
	})
	client := tls.Client(wire, &tls.Config{
		InsecureSkipVerify: true, KeyLogWriter: &log,
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	})
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	if err := errors.Join(client.Handshake(), <-shaken); err != nil {
		tb.Fatal(err)
	}
	found := regexp.MustCompile(`CLIENT_RANDOM (\w+) (\w+)`).FindStringSubmatch(log.String())
	random, _ := hex.DecodeString(found[1])
	master, _ := hex.DecodeString(found[2])
	const helloRandom = recordHeaderSize + 4 + 2
	theirs := wire.heard.Bytes()[helloRandom : helloRandom+32]
	block := keyBlock(master, append(bytes.Clone(theirs), random...), 2*16+2*4)
	aead, err := newAEAD(block[:16])
	if err != nil {
		tb.Fatal(err)
	}
	f.Relay.client.conn = server
	_ = f.client.SetDeadline(time.Now().Add(20 * time.Second))
	_ = f.upstream.SetDeadline(time.Now().Add(20 * time.Second))
	return f, &oldKeys{aead, block[32:36], 1} // 0 was the handshake's last message
}

// keyBlock is made of the master secret (RFC 5246, sections 5 and 6.3).
func keyBlock(master, randoms []byte, size int) []byte {
	hash := func(p []byte) []byte {
		h := hmac.New(sha256.New, master)
		h.Write(p)
		return h.Sum(nil)
	}
	seed := append([]byte("key expansion"), randoms...)
	var out []byte
	for a := hash(seed); len(out) < size; a = hash(a) {
		out = append(out, hash(append(bytes.Clone(a), seed...))...)
	}
	return out[:size]
}

// seal makes a record.
func (k *oldKeys) seal(kind byte, p []byte) []byte {
	explicit := binary.BigEndian.AppendUint64(nil, k.seq)
	k.seq++
	size := len(explicit) + len(p) + k.aead.Overhead()
	record := append([]byte{kind, 3, 3, byte(size >> 8), byte(size)}, explicit...)
	known := append(bytes.Clone(explicit), kind, 3, 3, byte(len(p)>>8), byte(len(p)))
	return k.aead.Seal(record, append(bytes.Clone(k.salt), explicit...), p, known)
}

// TestDataBehindAWarningIsRelayed has crypto/tls take out two records at once: it
// looks for a close_notify behind what it returns, passes over another alert, and
// keeps what comes behind that. It keeps it in memory that is the loop's, where
// others' plaintext would be next.
func TestDataBehindAWarningIsRelayed(t *testing.T) {
	t.Parallel()
	noRenegotiation := []byte{1, 100}
	f, s := withOldStranger(t, Config{CloseTimeout: time.Minute})
	f.run()
	for range 3 {
		p := s.seal(recordData, maskedText("1"))
		p = append(p, s.seal(recordAlert, noRenegotiation)...)
		p = append(p, s.seal(recordData, maskedText("2"))...)
		mustWrite(t, f.client, p)
		mustRead(t, f.upstream, append(maskedText("1"), maskedText("2")...))
	}
	f.client.Close()
	f.upstream.Close()
	f.end(t)
}
