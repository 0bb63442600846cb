//go:build !noloop && !386

package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/tcpdial"
)

// loosePair returns a connection that Go's poller does not know, and its far end.
func loosePair(tb testing.TB, l net.Listener) (tcpdial.Loose, net.Conn) {
	tb.Helper()
	to := tcpdial.Target{TCP: l.Addr().(*net.TCPAddr).AddrPort()}
	c, err := tcpdial.Dial(context.Background(), to, nil, time.Now().Add(patience))
	if err != nil {
		tb.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	return c.(tcpdial.Loose), far
}

func listenTCP(tb testing.TB) net.Listener {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	return l
}

// tenants is how many places of the loops are taken.
func tenants() (n int) {
	for _, l := range *loops.Load() {
		l.mu.Lock()
		n += len(l.places) - 1 - len(l.vacant)
		l.mu.Unlock()
	}
	return n
}

// ownLoops has the process use loops that no other test does.
func ownLoops(t *testing.T) {
	t.Helper()
	before := loops.Load()
	loops.Store(nil)
	t.Cleanup(func() { loops.Store(before) })
	if _, err := pickLoop(); err != nil {
		t.Fatal(err)
	}
}

// TestUpstreamIsNeverKnownToGosPoller is not parallel, for it counts descriptors and
// places.
func TestUpstreamIsNeverKnownToGosPoller(t *testing.T) {
	ownLoops(t)
	l := listenTCP(t)
	for name, early := range map[string][]byte{"the loop is not called": nil, "the loop is called": maskedText("early")} {
		t.Run(name, func(t *testing.T) {
			before := descriptors(t)
			loose, upstream := loosePair(t, l)
			for _, word := range []string{"a first word", "a second"} {
				_, _ = io.WriteString(upstream, word)
				p := make([]byte, 100)
				if n, err := Await(loose, p, time.Now().Add(patience)); err != nil || string(p[:n]) != word {
					t.Fatalf("it said %q, %v", p[:n], err)
				}
			}
			if _, _, ok := loose.Lend(); !ok {
				t.Error("Go's poller knows the socket")
			}
			ours, client := tcpPair(t)
			f := &fixture{New(Config{Client: ours, Upstream: loose, EarlyFromClient: early}), client, upstream, make(chan Outcome, 1), sharedKeeper, &sharedBuffers}
			f.run()
			if len(early) > 0 {
				mustRead(t, upstream, early)
			}
			if n := tenants(); n != 1 {
				t.Errorf("%d places are taken, want the upstream's that has become the connection's", n)
			}
			mustWrite(t, client, maskedText("hi"))
			mustRead(t, upstream, maskedText("hi"))
			mustWrite(t, upstream, text("ho"))
			mustRead(t, client, text("ho"))
			mustWrite(t, upstream, closeFrame(1000, ""))
			mustRead(t, client, closeFrame(1000, ""))
			mustWrite(t, client, maskedClose(1000, ""))
			wantEnd(t, f.end(t), Upstream, 1000, "")
			_ = client.Close()
			_ = upstream.Close()
			if n := tenants(); n != 0 {
				t.Errorf("%d places are taken at the end", n)
			}
			waitForDescriptors(t, before)
		})
	}
}

// TestPlaceOfAnUpstreamThatIsNotRelayedIsGivenBack is not parallel, for it counts
// places.
func TestPlaceOfAnUpstreamThatIsNotRelayedIsGivenBack(t *testing.T) {
	ownLoops(t)
	l := listenTCP(t)
	soon := func() time.Time { return time.Now().Add(time.Millisecond) }
	for name, row := range map[string]struct {
		upstream func(far net.Conn)
		want     error // of Await
		leave    func(t *testing.T, c tcpdial.Loose, far net.Conn)
	}{
		"closed": {func(net.Conn) {}, os.ErrDeadlineExceeded, func(t *testing.T, c tcpdial.Loose, far net.Conn) {
			_ = c.Close()
			if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("the far end reads %v", err)
			}
		}},
		"read from": {func(net.Conn) {}, os.ErrDeadlineExceeded, func(t *testing.T, c tcpdial.Loose, far net.Conn) {
			go func() { _, _ = io.WriteString(far, "late") }()
			p := make([]byte, 4)
			if _, err := io.ReadFull(c, p); err != nil || string(p) != "late" {
				t.Errorf("read %q, %v", p, err)
			}
			if _, err := Await(c, p, soon()); err != ErrNoLoop { //nolint:errorlint // it is not wrapped
				t.Errorf("awaited what Go's poller knows: %v", err)
			}
		}},
		"ended by its peer": {func(far net.Conn) { _ = far.Close() }, io.EOF, func(*testing.T, tcpdial.Loose, net.Conn) {}},
		"reset by its peer": {func(far net.Conn) {
			_ = far.(*net.TCPConn).SetLinger(0)
			_ = far.Close()
		}, syscall.ECONNRESET, func(*testing.T, tcpdial.Loose, net.Conn) {}},
	} {
		t.Run(name, func(t *testing.T) {
			before := descriptors(t)
			c, far := loosePair(t, l)
			row.upstream(far)
			deadline := time.Now().Add(patience)
			if errors.Is(row.want, os.ErrDeadlineExceeded) {
				deadline = soon()
			}
			if n, err := Await(c, make([]byte, 10), deadline); n > 0 || !errors.Is(err, row.want) {
				t.Errorf("awaited %d bytes and %v, want %v", n, err, row.want)
			}
			if n := tenants(); n != 1 {
				t.Errorf("%d places are taken while it is open", n)
			}
			row.leave(t, c, far)
			_ = c.Close()
			_ = far.Close()
			if n := tenants(); n != 0 {
				t.Errorf("%d places are taken at the end", n)
			}
			waitForDescriptors(t, before)
		})
	}
}

// TestLoopThatGivesUpTellsWhoWaits is not parallel, for it replaces the loops of the
// process.
func TestLoopThatGivesUpTellsWhoWaits(t *testing.T) {
	ownLoops(t)
	for _, l := range (*loops.Load())[1:] {
		l.giveUp()
	}
	l := listenTCP(t)
	c, far := loosePair(t, l)
	defer far.Close()
	told := make(chan error, 1)
	go func() {
		_, err := Await(c, make([]byte, 10), time.Now().Add(patience))
		told <- err
	}()
	eventually(t, "a place to be taken", func() bool { return tenants() == 1 })
	dead := (*loops.Load())[0]
	dead.giveUp()
	if err := take(t, "who waits to be told", told); err != ErrNoLoop { //nolint:errorlint // it is not wrapped
		t.Errorf("told %v", err)
	}
	ours, client := tcpPair(t)
	f := &fixture{New(Config{Client: ours, Upstream: c}), client, far, make(chan Outcome, 1), sharedKeeper, &sharedBuffers}
	f.run()
	mustWrite(t, client, maskedText("hi"))
	mustRead(t, far, maskedText("hi"))
	if f.place.loop == nil || f.place.loop == dead {
		t.Error("not on a loop that lives")
	}
	_ = client.Close()
	_ = far.Close()
	f.end(t)
}

// TestConnectionsThatDoNotCallTheLoopKeepTheirTime has alarms that come before, and
// after, what the loop waits for when they are started.
func TestConnectionsThatDoNotCallTheLoopKeepTheirTime(t *testing.T) {
	t.Parallel()
	l := ownLoop(t)
	go l.run()
	var fixtures []*fixture
	for _, idle := range []time.Duration{time.Hour, 80 * time.Millisecond, 160 * time.Millisecond, 40 * time.Millisecond, 2 * time.Hour} {
		f := onTCP(t, Config{Policy: &Policy{IdleTimeout: idle}})
		f.startOn(t, l)
		fixtures = append(fixtures, f)
	}
	for _, i := range []int{1, 2, 3} {
		mustReadClose(t, fixtures[i].client, Close{1001, "idle for too long"})
	}
	for _, f := range fixtures {
		_ = f.client.Close()
		_ = f.upstream.Close()
		f.end(t)
	}
}

// TestUpstreamsThatComeAndGoNeverMix is not parallel, for it counts descriptors and
// places. Places and descriptors change hands at once; each upstream says its name, and
// nobody may ever hear another's.
func TestUpstreamsThatComeAndGoNeverMix(t *testing.T) {
	ownLoops(t)
	before := descriptors(t)
	l := listenTCP(t)
	before++ // the listener
	go serveNames(l)
	rounds := 150
	if testing.Short() {
		rounds = 40
	}
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 18))
			for round := range rounds {
				comeAndGo(t, l.Addr().(*net.TCPAddr), fmt.Sprintf("%02d-%04d", worker, round), random)
			}
		})
	}
	all.Wait()
	eventually(t, "all places to be given back", func() bool { return tenants() == 0 })
	waitForDescriptors(t, before)
}

// serveNames has each connection that says its name told it again, late by what the name
// comes to, and then every byte that it sends.
func serveNames(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			name := make([]byte, 7)
			if _, err := io.ReadFull(c, name); err != nil {
				return
			}
			switch name[6] % 4 {
			case 0:
				for range int(name[5]%4) * 300 {
					runtime.Gosched()
				}
			case 1:
				_, _ = c.Write(name[:3]) // and the rest later
				name = name[3:]
			}
			_, _ = c.Write(name)
			_, _ = io.Copy(c, c)
		}()
	}
}

// comeAndGo dials, waits for the name for as long as it happens to have patience, and
// then relays, reads or leaves.
func comeAndGo(t *testing.T, addr *net.TCPAddr, name string, random *rand.Rand) {
	dialed, err := tcpdial.Dial(context.Background(), tcpdial.Target{TCP: addr.AddrPort()}, []byte(name), time.Now().Add(patience))
	if err != nil {
		t.Error(err)
		return
	}
	c := dialed.(tcpdial.Loose)
	defer c.Close()
	got, p := "", make([]byte, 7)
	deadline := time.Now().Add(time.Duration(random.IntN(1500)) * time.Microsecond)
	for len(got) < len(name) && err == nil {
		var n int
		n, err = Await(c, p[:len(name)-len(got)], deadline)
		got += string(p[:n])
	}
	if got != name[:len(got)] {
		t.Errorf("%s heard %s", name, got)
	}
	what := random.IntN(4)
	if what == 0 {
		return
	}
	if what == 1 || len(got) < len(name) {
		rest := make([]byte, len(name)-len(got))
		if _, err := io.ReadFull(c, rest); err != nil || got+string(rest) != name {
			t.Errorf("%s read %s, %v", name, rest, err)
		}
	}
	relayNamed(t, c, name, random)
}

// relayNamed relays to an upstream that says again what it hears, and leaves.
func relayNamed(t *testing.T, c tcpdial.Loose, name string, random *rand.Rand) {
	ours, client := tcpPair(t)
	defer client.Close()
	ended := make(chan Outcome, 1)
	var early []byte
	if random.IntN(3) == 0 {
		early = maskedText("early " + name)
	}
	New(Config{Client: ours, Upstream: c, EarlyFromClient: early, CloseTimeout: 20 * time.Millisecond, LingerTimeout: time.Millisecond}).Start(func(o Outcome) { ended <- o })
	said := maskedText("hello " + name)
	_, _ = client.Write(said)
	want := string(early) + string(said)
	heard := make([]byte, len(want))
	_ = client.SetReadDeadline(time.Now().Add(patience))
	if n, err := io.ReadFull(client, heard); err != nil || string(heard) != want {
		t.Errorf("%s heard %q, %v", name, heard[:n], err)
	}
	if random.IntN(2) == 0 {
		_ = client.SetLinger(0)
	}
	_ = client.Close()
	take(t, "the relay to end", ended)
}
