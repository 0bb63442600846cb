//go:build !noloop && !386

package relay

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// descriptors counts the descriptors of this process.
func descriptors(tb testing.TB) int {
	tb.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	return len(entries)
}

// onUnix makes a relay between unix sockets.
func onUnix(tb testing.TB) *fixture {
	tb.Helper()
	l, err := net.Listen("unix", filepath.Join(tb.TempDir(), "s"))
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	pair := func() (ours, peer net.Conn) {
		peer, err := net.Dial("unix", l.Addr().String())
		if err != nil {
			tb.Fatal(err)
		}
		ours, err = l.Accept()
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { peer.Close() })
		return ours, peer
	}
	ourClient, client := pair()
	ourUpstream, upstream := pair()
	return &fixture{New(Config{Client: ourClient, Upstream: ourUpstream}), client, upstream, make(chan Outcome, 1), sharedKeeper, &sharedBuffers}
}

func TestUnixSocketsAreOnTheLoop(t *testing.T) {
	t.Parallel()
	f := onUnix(t)
	f.run()
	mustWrite(t, f.client, maskedText("hello"))
	mustRead(t, f.upstream, maskedText("hello"))
	if f.place.loop == nil {
		t.Error("not on the loop")
	}
	f.client.Close()
	mustReadClose(t, f.upstream, Close{1011, "client vanished"})
	f.upstream.Close()
	wantEnd(t, f.end(t), Client, 1011, "client vanished")
}

func TestWrappedSocketsAreNotOnTheLoop(t *testing.T) {
	t.Parallel()
	f := onTCP(t, Config{})
	f.Relay.client.conn = wrapped{f.Relay.client.conn.(net.Conn)}
	f.run()
	mustWrite(t, f.client, maskedText("hello"))
	mustRead(t, f.upstream, maskedText("hello"))
	if f.place.loop != nil {
		t.Error("the loop reads past the wrapper")
	}
	f.client.Close()
	f.upstream.Close()
	f.end(t)
}

// TestQuietConnectionIsSmall is not parallel, for it counts goroutines.
func TestQuietConnectionIsSmall(t *testing.T) {
	warm := onTCP(t, Config{})
	warm.run()
	before := runtime.NumGoroutine()
	const many = 100
	fixtures := make([]*fixture, many)
	for i := range fixtures {
		fixtures[i] = onTCP(t, Config{EarlyFromClient: maskedText("early"), WriteTimeout: time.Minute})
		fixtures[i].run()
		mustRead(t, fixtures[i].upstream, maskedText("early"))
	}
	if more := runtime.NumGoroutine() - before; more > many/10 {
		t.Errorf("%d connections brought %d goroutines", many, more)
	}
	for _, f := range append(fixtures, warm) {
		f.client.Close()
		f.upstream.Close()
		f.end(t)
		if f.Relay.client.kept != nil || f.Relay.client.conn != nil || f.Relay.client.socket.unsent != nil {
			t.Error("a connection keeps what it needs no more")
		}
	}
	if size := unsafe.Sizeof(Relay{}); size > 512 {
		t.Errorf("a connection takes %d bytes, want at most 512", size)
	}
	held := Policy{IdleTimeout: time.Minute}
	if n := testing.AllocsPerRun(100, func() { allocate(&held) }); n > 1 {
		t.Errorf("a connection with limits is in %g pieces", n)
	}
}

// TestQuietTLSHoldsNoGoroutine is not parallel, for it counts goroutines.
func TestQuietTLSHoldsNoGoroutine(t *testing.T) {
	const many = 50
	fixtures := make([]*fixture, many)
	for i := range fixtures {
		fixtures[i] = onTLS(t, Config{WriteTimeout: time.Minute})
	}
	before := runtime.NumGoroutine()
	for _, f := range fixtures {
		f.run()
		// Several records in a row, which the tls.Conn may read at once.
		for range 5 {
			mustWrite(t, f.client, maskedText("hi"))
		}
		for range 5 {
			mustRead(t, f.upstream, maskedText("hi"))
		}
		mustWrite(t, f.upstream, text("ho"))
		mustRead(t, f.client, text("ho"))
	}
	if more := runtime.NumGoroutine() - before; more > many/10 {
		t.Errorf("%d connections brought %d goroutines", many, more)
	}
	for i, f := range fixtures {
		switch i % 3 {
		case 0:
			f.client.Close()
			f.upstream.Close()
		case 1:
			f.End(restart, goingAway)
			beneath(f.client).Close()
			f.upstream.Close()
		case 2:
			mustWrite(t, f.client, maskedClose(1000, ""))
			mustWrite(t, f.upstream, closeFrame(1000, ""))
		}
		f.end(t)
	}
}

// TestDescriptorsAreGivenBack is not parallel, for it counts descriptors.
func TestDescriptorsAreGivenBack(t *testing.T) {
	warm := onTCP(t, Config{})
	warm.run()
	warm.client.Close()
	warm.upstream.Close()
	warm.end(t)
	before := descriptors(t)
	var ends sync.WaitGroup
	for i := range 300 {
		ends.Go(func() {
			open := onTCP
			if i%2 == 0 {
				open = onTLS
			}
			f := open(t, Config{CloseTimeout: 50 * time.Millisecond, WriteTimeout: 50 * time.Millisecond, LingerTimeout: 10 * time.Millisecond})
			defer f.upstream.Close()
			defer beneath(f.client).Close()
			if i%7 == 0 {
				f.End(restart, goingAway)
			}
			f.run()
			switch i % 7 {
			case 1:
				f.End(restart, goingAway)
			case 2:
				beneath(f.client).Close()
			case 3:
				_ = beneath(f.client).CloseWrite()
			case 4:
				_ = f.upstream.(*net.TCPConn).SetLinger(0)
				f.upstream.Close()
			case 5:
				_, _ = f.client.Write(maskedClose(1000, ""))
			case 6:
				flood := frame(2, true, make([]byte, 1<<20))
				go func() {
					for {
						if _, err := f.client.Write(flood); err != nil {
							return
						}
					}
				}()
			}
			f.end(t)
		})
	}
	ends.Wait()
	waitForDescriptors(t, before) // a write that is under way keeps one open
}

// TestEventOfAnEarlierTenantIsVoid plays what the kernel may do: it reports a
// descriptor that was closed and whose place, and number, have a new owner.
func TestEventOfAnEarlierTenantIsVoid(t *testing.T) {
	t.Parallel()
	l, err := newLoop() // turned by this test alone
	if err != nil {
		t.Fatal(err)
	}
	defer l.file.Close()
	defer closeDescriptor(int32(l.caller))
	open := func() (*fixture, chan Outcome) {
		f := onTCP(t, Config{})
		done := make(chan Outcome, 1)
		c, _ := duplicate(f.Relay.client.conn.(*net.TCPConn))
		u, _ := duplicate(f.Relay.upstream.conn.(*net.TCPConn))
		f.Relay.client.socket.fd, f.Relay.upstream.socket.fd = c, u
		f.place.loop, f.done = l, func(o Outcome) { done <- o }
		if calls, ok := l.enter(f.Relay, nil); calls || !ok {
			t.Fatalf("it calls the loop: %t, and has a place: %t", calls, ok)
		}
		return f, done
	}
	play := func(event syscall.EpollEvent) {
		l.events[0], l.handled = event, 0
		l.find(1)
		l.turn(1)
	}
	first, done := open()
	stale := syscall.EpollEvent{
		Events: syscall.EPOLLIN | syscall.EPOLLHUP | syscall.EPOLLOUT,
		Fd:     first.place.index << 1, Pad: first.place.generation,
	}
	end := func(f *fixture, done <-chan Outcome) {
		f.Relay.mu.Lock()
		f.decide(Gateway, restart)
		f.finish()
		f.Relay.mu.Unlock()
		l.lookAfter(f.Relay)
		<-done
	}
	end(first, done)

	second, done := open()
	if second.place.index != first.place.index {
		t.Fatal("the place was not reused")
	}
	mustWrite(t, second.client, maskedText("mine"))
	play(stale)
	if c, _ := second.Counts(); c.Text != 0 {
		t.Error("an event of the earlier tenant was taken for the new one's")
	}
	stale.Pad = second.place.generation
	play(stale)
	mustRead(t, second.upstream, maskedText("mine"))
	end(second, done)
}

// TestSocketThatOthersHoldDoesNotKeepTheLoopBusy has a process that was forked, and does not
// run yet, hold the socket of a client whose connection is over. The epoll set goes on to
// tell of it.
func TestSocketThatOthersHoldDoesNotKeepTheLoopBusy(t *testing.T) {
	t.Parallel()
	l := ownLoop(t)
	over := onTCP(t, Config{})
	held, err := duplicate(over.Relay.client.conn.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	defer closeDescriptor(held)
	over.startOn(t, l)
	l.wreck(over.Relay, internalError, nil)
	mustWrite(t, over.client, maskedText("hi"))
	next := onTCP(t, Config{})
	next.startOn(t, l)
	if next.place.index != over.place.index {
		t.Fatal("the place was not reused")
	}
	for range 2 {
		l.takeTurn()
	}
	if l.takeTurn() {
		t.Error("more is said to be ready")
	}
}

// TestChurnedDescriptorsNeverMix opens and ends connections in every way while
// all of them send, so that descriptors and places change hands at once. Each
// message bears the name of its connection, and no peer may ever get another's.
func TestChurnedDescriptorsNeverMix(t *testing.T) {
	t.Parallel()
	const workers = 16
	var lives atomic.Uint64
	until := time.Now().Add(2 * time.Second)
	if testing.Short() {
		until = time.Now().Add(300 * time.Millisecond)
	}
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 11))
			for time.Now().Before(until) && !t.Failed() {
				liveAndDie(t, lives.Add(1), rng)
			}
		})
	}
	all.Wait()
	t.Logf("%d connections", lives.Load())
}

// liveAndDie is one connection of the churn.
func liveAndDie(t *testing.T, name uint64, rng *rand.Rand) {
	f := onTCP(t, Config{CloseTimeout: 20 * time.Millisecond, LingerTimeout: 5 * time.Millisecond})
	f.run()
	payload := make([]byte, 8+rng.IntN(20_000)&^7)
	for i := 0; i < len(payload); i += 8 {
		binary.BigEndian.PutUint64(payload[i:], name)
	}
	var peers sync.WaitGroup
	for _, c := range []net.Conn{f.client, f.upstream} {
		message := frame(2, c == f.client, payload)
		other := frame(2, c != f.client, payload)
		peers.Go(func() {
			for {
				if _, err := c.Write(message); err != nil {
					return
				}
			}
		})
		peers.Go(func() {
			if err := onlyReads(c, other); err != nil {
				t.Errorf("connection %d: %v", name, err)
			}
		})
	}
	end := []func(){
		func() { f.End(restart, goingAway) },
		func() {
			_ = f.client.(*net.TCPConn).SetLinger(0)
			f.client.Close()
		},
		func() { f.upstream.Close() },
		func() {
			_ = f.client.(*net.TCPConn).CloseWrite()
			time.AfterFunc(time.Millisecond, func() { f.upstream.Close() }) // the flood from there would go on for long
		},
	}[rng.IntN(4)]
	time.AfterFunc(time.Duration(rng.IntN(3000))*time.Microsecond, end)
	f.end(t)
	f.client.Close()
	f.upstream.Close()
	peers.Wait()
}

// onlyReads wants the stream to be the message over and over, and perhaps a
// close frame at last.
func onlyReads(c io.Reader, message []byte) error {
	got := make([]byte, len(message))
	for {
		n, err := io.ReadFull(c, got)
		switch {
		case bytes.HasPrefix(message, got[:n]):
		case got[0] == 0x88:
		default:
			return fmt.Errorf("got %.40x, want %.40x", got[:n], message)
		}
		if err != nil || got[0] == 0x88 {
			return nil
		}
	}
}

// TestAlarmsGoOffWhilePlacesAreTaken says something only with the race detector.
func TestAlarmsGoOffWhilePlacesAreTaken(t *testing.T) {
	t.Parallel()
	l := ownLoop(t)
	go l.run()
	var fixtures []*fixture
	for i := range 10 {
		f := onTCP(t, Config{Policy: &Policy{IdleTimeout: time.Duration(i+1) * 10 * time.Millisecond}})
		f.startOn(t, l)
		fixtures = append(fixtures, f)
	}
	ended := make(chan struct{})
	var taking sync.WaitGroup
	taking.Go(func() {
		for {
			select {
			case <-ended:
				return
			default:
				l.mu.Lock()
				l.places = slices.Clone(l.places) // as where there have to be more
				l.mu.Unlock()
				runtime.Gosched()
			}
		}
	})
	for _, f := range fixtures {
		mustReadClose(t, f.client, Close{1001, "idle for too long"})
		_, _ = f.client.Close(), f.upstream.Close()
		f.end(t)
	}
	close(ended)
	taking.Wait()
}
