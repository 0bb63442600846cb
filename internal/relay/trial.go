package relay

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"sync"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// trial is a TLS session in memory, with which the relay does what it does with
// the sessions of clients and upstreams, to see whether crypto/tls still takes it.
type trial struct {
	ours, peer               *tls.Conn
	beneathOurs, beneathPeer *wire
	settings                 *tls.Config // of ours

	coming   []byte // what the peer has sent and ours has not been given
	expected []byte // the plaintext of that
	breaks   bool   // the session ends with a broken record, and else in order
}

// trialTimeout bounds all trials of a process together, which take some
// milliseconds: a crypto/tls that does not return must not keep Caddy from
// starting.
const trialTimeout = 10 * time.Second

// wire is what one end of a trial reads from and writes to.
type wire struct {
	net.Conn // for all the rest, of which nothing matters
	in, out  *direction
	used     bool
}

// Read implements net.Conn.
func (w *wire) Read(p []byte) (int, error) {
	w.used = true
	return w.in.Read(p)
}

// Write implements net.Conn.
func (w *wire) Write(p []byte) (int, error) {
	w.used = true
	return w.out.Write(p)
}

// direction is what flows one way between the ends of a trial. Until it is over, reading
// waits for something to be written.
type direction struct {
	mu   sync.Mutex // guards what follows
	came sync.Cond
	data bytes.Buffer
	over bool
}

func newDirection() *direction {
	s := new(direction)
	s.came.L = &s.mu
	return s
}

// Read implements io.Reader.
func (s *direction) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.data.Len() == 0 && !s.over {
		s.came.Wait()
	}
	return s.data.Read(p)
}

// Write implements io.Writer.
func (s *direction) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.came.Signal()
	return s.data.Write(p)
}

// stop makes Read return the end where there is nothing to read.
func (s *direction) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.came.Signal()
}

// taken empties a direction and returns what was in it.
func (s *direction) taken() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.data.Reset()
	return bytes.Clone(s.data.Bytes())
}

// tryOut returns what is wrong with a layout: it has trial sessions go through
// all that the relay does to a tls.Conn on this platform.
func (at layout) tryOut() error {
	result := make(chan error, 1)
	go func() { result <- contained(at.tryAll) }()
	late := time.NewTimer(trialTimeout)
	defer late.Stop()
	select {
	case err := <-result:
		return err
	case <-late.C:
		return errors.New("a trial of crypto/tls does not end")
	}
}

// contained calls f and returns its error, or what panicked in it.
func contained(f func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("crypto/tls panics: %s", panics.Caught(value).What)
		}
	}()
	return f()
}

func (at layout) tryAll() error {
	for _, version := range []uint16{tls.VersionTLS13, tls.VersionTLS12} {
		if err := at.tryServer(version); err != nil {
			return fmt.Errorf("%s with a client in memory: %w", tls.VersionName(version), err)
		}
		if err := at.tryClient(version); err != nil {
			return fmt.Errorf("%s with an upstream in memory: %w", tls.VersionName(version), err)
		}
	}
	return nil
}

// tryServer tries a session as a client's is: of which this process is the server.
func (at layout) tryServer(version uint16) error {
	t, err := newTrial(version, false)
	if err != nil {
		return err
	}
	if err := t.findsSettings(at); err != nil {
		return err
	}
	at.forget(t.ours)
	if err := t.talk(); err != nil {
		return fmt.Errorf("with its configuration forgotten: %w", err)
	}
	return at.tryOnLoop(t)
}

// tryClient tries a session as an upstream's is: of which this process is the client.
// Under TLS 1.3 the server's ticket for the next session is read on the loop.
func (at layout) tryClient(version uint16) error {
	t, err := newTrial(version, true)
	if err != nil {
		return err
	}
	if err := t.findsSettings(at); err != nil {
		return err
	}
	t.breaks = true
	return at.tryOnLoop(t)
}

// newTrial shakes hands in memory. Ours is the client's end or the server's.
func newTrial(version uint16, asClient bool) (*trial, error) {
	certificate, err := throwaway()
	if err != nil {
		return nil, err
	}
	fromClient, fromServer := newDirection(), newDirection()
	server, client := &wire{in: fromClient, out: fromServer}, &wire{in: fromServer, out: fromClient}
	server.Conn, client.Conn = net.Pipe()
	serves := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: version, MaxVersion: version}
	asks := &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // the server is this process
		MinVersion:         version,
		MaxVersion:         version,
		ClientSessionCache: tls.NewLRUClientSessionCache(1), // else the server gives no ticket
	}
	t := &trial{
		ours: tls.Server(server, serves), beneathOurs: server, settings: serves,
		peer: tls.Client(client, asks), beneathPeer: client,
	}
	err = shakeHands(t.ours, t.peer)
	if asClient {
		t.ours, t.beneathOurs, t.peer, t.beneathPeer = t.peer, t.beneathPeer, t.ours, t.beneathOurs
		t.settings = asks
		t.coming = fromServer.taken() // what the server has sent behind its handshake
	}
	return t, err
}

// shakeHands shakes hands at both ends.
func shakeHands(server, client *tls.Conn) error {
	shaken := make(chan error, 1)
	go func() { shaken <- contained(func() error { return shakeOne(client) }) }()
	return errors.Join(shakeOne(server), <-shaken)
}

// shakeOne shakes hands at one end, and does not let the other end wait if that fails.
func shakeOne(c *tls.Conn) error {
	defer c.NetConn().(*wire).out.stop()
	return contained(c.Handshake)
}

func (t *trial) findsSettings(at layout) error {
	if *inside[*tls.Config](t.ours, at.settings) != t.settings {
		return errors.New("its configuration is not where it should be")
	}
	return nil
}

// peerSays has the peer write p as records of its own.
func (t *trial) peerSays(p []byte) error {
	if _, err := t.peer.Write(p); err != nil {
		return err
	}
	t.coming = append(t.coming, t.beneathPeer.out.taken()...)
	t.expected = append(t.expected, p...)
	return nil
}

// peerHears has the peer read records, which must hold this.
func (t *trial) peerHears(records, said []byte) error {
	_, _ = t.beneathPeer.in.Write(records)
	return hears(t.peer, said)
}

// hears reads what was said from a session.
func hears(c *tls.Conn, said []byte) error {
	heard := make([]byte, len(said))
	if _, err := io.ReadFull(c, heard); err != nil || !bytes.Equal(heard, said) {
		return fmt.Errorf("%.40q is heard, %w", heard, orMismatch(err))
	}
	return nil
}

// talk has the ends talk without the loop. Our end has read ahead then: a record that
// it was not asked for, and a part of another.
func (t *trial) talk() error {
	first, second, third := []byte("a question"), []byte("another one"), []byte("and one in parts")
	for _, p := range [][]byte{first, second, third} {
		if err := t.peerSays(p); err != nil {
			return err
		}
	}
	const missing = 10 // less than what is sealed around any record
	ahead := t.coming[:len(t.coming)-missing]
	_, _ = t.beneathOurs.in.Write(ahead)
	if err := hears(t.ours, first); err != nil {
		return err
	}
	t.expected = t.expected[len(first):]
	t.coming = append(t.beneathOurs.in.taken(), t.coming[len(ahead):]...)
	answer := []byte("an answer")
	if _, err := t.ours.Write(answer); err != nil {
		return err
	}
	return t.peerHears(t.beneathOurs.out.taken(), answer)
}

var errMismatch = errors.New("which is not what was said")

func orMismatch(err error) error {
	if err == nil {
		return errMismatch
	}
	return err
}

// throwaway makes a certificate for one handshake.
func throwaway() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
