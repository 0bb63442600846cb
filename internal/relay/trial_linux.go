//go:build !noloop && !386

package relay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
)

// TLSTrouble returns why TLS is left to goroutines although there is a loop:
// this program's crypto/tls is not as the loop knows it. It is nil where the loop
// serves TLS, and where there is no loop.
func TLSTrouble() error { return tlsTrouble() }

// loopTrial is our end of a trial on a loop that does not run, and whose socket is
// full, so that all that the loop would send can be looked at.
type loopTrial struct {
	*trial
	loop *loop
	side *side
	full *chunk // what the loop would send
}

// tryOnLoop hands our end of a trial to the loop.
func (at layout) tryOnLoop(t *trial) error {
	l := &loop{chunk: chunks.Get().(*chunk), out: chunks.Get().(*chunk)}
	full := &chunk{unsent: make([]byte, 0, restSizes[len(restSizes)-1])}
	on := loopTrial{t, l, &side{socket: socket{fd: -1, unsent: full, tls: newSession(t.ours, at)}}, full}
	t.beneathOurs.used = false
	for _, step := range []func() error{on.receives, on.seals, on.holdsBack, on.ends} {
		if err := step(); err != nil {
			return err
		}
	}
	if t.ours.NetConn() != net.Conn(on.side.socket.tls) || t.beneathOurs.used {
		return errors.New("it reads or writes past the loop")
	}
	l.chunk.release() // not after a panic: the chunks may still be in use
	l.out.release()
	return nil
}

// feed gives the loop what a read from the socket would have brought, and returns
// what the loop passes on.
func (t loopTrial) feed(p []byte) []byte {
	session, raw := t.side.socket.tls, t.loop.raw[:]
	had := session.load(raw)
	*session.raw = *bytes.NewBuffer(raw[:had+copy(raw[had:], p)])
	opened := bytes.Clone(t.loop.open(t.side, 0))
	session.store()
	return opened
}

// sent returns what the loop would have sent.
func (t loopTrial) sent() []byte {
	defer func() { t.full.unsent = t.full.unsent[:0] }()
	return bytes.Clone(t.full.unsent)
}

// receives has the loop take over what our end has read ahead, and get what
// follows in parts.
func (t loopTrial) receives() error {
	for _, size := range []int{1, 100, 20_000} {
		if err := t.peerSays(bytes.Repeat([]byte{byte(size)}, size)); err != nil {
			return err
		}
	}
	session := t.side.socket.tls
	t.loop.readAhead(t.side)
	heard := t.side.waiting()
	for _, size := range []int{0, 1, 3, 1, 10, 100, 1000, len(t.coming)} {
		part := t.coming[:min(size, len(t.coming))]
		t.coming = t.coming[len(part):]
		heard = append(heard, t.feed(part)...)
		switch {
		case session.end != nil:
			return fmt.Errorf("the loop hears %d bytes, then %w", len(heard), session.end)
		case session.whole() || session.held() > 0:
			return errors.New("the loop is not told all that has come")
		}
	}
	if !bytes.Equal(heard, t.expected) {
		return fmt.Errorf("the loop hears %d bytes, %w", len(heard), errMismatch)
	}
	t.expected = nil
	return nil
}

// seals has the loop send records, more than one at once.
func (t loopTrial) seals() error {
	said := bytes.Repeat([]byte("what the other side says"), 1000)
	if err := t.loop.seal(t.side, said); err != nil {
		return fmt.Errorf("sealing: %w", err)
	}
	return t.peerHears(t.sent(), said)
}

// holdsBack asks our end for less than a record holds.
func (t loopTrial) holdsBack() error {
	said := []byte("held back")
	if err := t.peerSays(said); err != nil {
		return err
	}
	session := t.side.socket.tls
	*session.raw = *bytes.NewBuffer(t.coming)
	t.coming, t.expected = nil, nil
	first := make([]byte, 1)
	if _, err := t.ours.Read(first); err != nil {
		return err
	}
	if held := session.held(); held != len(said)-1 {
		return fmt.Errorf("%d bytes are said to be held back, not %d", held, len(said)-1)
	}
	if rest := t.loop.open(t.side, 0); !bytes.Equal(rest, said[1:]) {
		return fmt.Errorf("%.40q was held back, %w", rest, errMismatch)
	}
	session.store()
	return nil
}

// ends has the peer's stream end behind its last words: in order, or with a record
// that is broken, of which the loop has to tell the peer.
func (t loopTrial) ends() error {
	last := []byte("last words")
	if err := t.peerSays(last); err != nil {
		return err
	}
	if t.breaks {
		return t.endsBroken(last)
	}
	if err := t.peer.CloseWrite(); err != nil {
		return err
	}
	heard := t.feed(append(t.coming, t.beneathPeer.out.taken()...))
	if ended := t.side.socket.tls.end; !bytes.Equal(heard, last) || ended != io.EOF { //nolint:errorlint // io.Reader returns it as it is
		return fmt.Errorf("the loop hears %.40q and the end as %w", heard, orMismatch(ended))
	}
	t.loop.sealLast(t.side)
	_, _ = t.beneathPeer.in.Write(t.sent())
	if _, err := t.peer.Read(make([]byte, 1)); err != io.EOF { //nolint:errorlint // as above
		return fmt.Errorf("the peer is told the end as %w", orMismatch(err))
	}
	return nil
}

func (t loopTrial) endsBroken(last []byte) error {
	if err := t.peerSays([]byte("nobody hears this")); err != nil {
		return err
	}
	t.coming[len(t.coming)-1] ^= 1
	heard := t.feed(t.coming)
	if ended := t.side.socket.tls.end; !bytes.Equal(heard, last) || ended == nil || errors.Is(ended, io.EOF) {
		return fmt.Errorf("the loop hears %.40q and takes a broken record for %w", heard, orMismatch(ended))
	}
	_, _ = t.beneathPeer.in.Write(t.sent())
	var remote *net.OpError
	if _, err := t.peer.Read(make([]byte, 1)); !errors.As(err, &remote) || remote.Op != "remote error" {
		return fmt.Errorf("the peer is told of a broken record as %w", orMismatch(err))
	}
	return nil
}
