//go:build unix

package relay

import (
	"net"
	"path/filepath"
	"testing"
)

func TestIdleTCPRelayHoldsNoBuffer(t *testing.T) {
	t.Parallel()
	f := onTCP(t, Config{})
	books := newLedger()
	f.buffers = books.source()
	f.runOnGoroutines()
	books.waitFor(t, 2) // one look at each side
	for range 3 {
		mustWrite(t, f.client, maskedText("hello"))
		mustRead(t, f.upstream, maskedText("hello"))
		// One loan for the message and one for the look after it; and the
		// relay then waits without.
		books.waitFor(t, 2)
	}
	f.client.Close()
	f.upstream.Close()
	f.end(t)
	books.waitFor(t, 2)
}

func TestIdleUnixRelayHoldsNoBuffer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Skipf("no unix sockets here: %v", err)
	}
	defer l.Close()
	peer, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	ours, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	f := onTCP(t, Config{})
	f.Relay.upstream.conn = ours
	books := newLedger()
	f.buffers = books.source()
	f.runOnGoroutines()
	books.waitFor(t, 2)
	mustWrite(t, peer, text("hello"))
	mustRead(t, f.client, text("hello"))
	books.waitFor(t, 2)
	f.client.Close()
	peer.Close()
	f.end(t)
}

func TestWrappedSocketIsNotReadPastItsWrapper(t *testing.T) {
	t.Parallel()
	ours, _ := tcpPair(t)
	if _, ok := newReader(wrapped{ours}, &sharedBuffers).(*bufferedReader); !ok {
		t.Error("a wrapped socket is read directly, past what the wrapper may hold")
	}
	if _, ok := newReader(ours, &sharedBuffers).(*bufferedReader); ok {
		t.Error("a plain socket is waited on with a buffer")
	}
}
