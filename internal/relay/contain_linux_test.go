//go:build !noloop && !386

package relay

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// TestPanicOnTheLoopEndsOneConnection lets everything panic that the loop does for
// a connection. Another one goes on. It is not parallel, for it counts
// descriptors.
func TestPanicOnTheLoopEndsOneConnection(t *testing.T) {
	send := func(t *testing.T, f *fixture) { mustWrite(t, f.client, maskedText("more")) }
	end := func(_ *testing.T, f *fixture) { f.End(restart, goingAway) }
	const nothing = 0
	tests := map[string]struct {
		play   func(t *testing.T, f *fixture)
		client int // the code of the last close frame that each side gets
		up     int
		code   int
	}{
		"event":  {send, 1011, 1011, 1011},
		"locked": {send, 1011, nothing, 1011},
		"write":  {send, 1011, nothing, 1011},
		"call":   {end, 1012, 1001, 1012},
		"end":    {end, nothing, nothing, 1012},
		"inject": {end, nothing, 1001, 1012},
		"timer":  {end, 1012, 1001, 1012},
		"close":  {end, 1012, 1001, 1012},
	}
	bystander := onTCP(t, Config{})
	bystander.run()
	defer bystander.end(t)
	defer bystander.client.Close()
	defer bystander.upstream.Close()
	for point, tt := range tests {
		for transport, open := range map[string]func(testing.TB, Config) *fixture{"tcp": onTCP, "tls": onTLS} {
			t.Run(point+"/"+transport, func(t *testing.T) {
				before := descriptors(t)
				f := open(t, Config{CloseTimeout: 100 * time.Millisecond})
				f.run()
				mustWrite(t, f.client, maskedText("hi"))
				mustRead(t, f.upstream, maskedText("hi"))
				trapAt(t, f.Relay, point)
				toClient, toUpstream := record(f.client), record(f.upstream)
				tt.play(t, f)
				wantPanic(t, f.end(t), tt.code)
				wantLast(t, "client", (<-toClient).data, tt.client)
				wantLast(t, "upstream", (<-toUpstream).data, tt.up)
				f.End(restart, goingAway)
				f.client.Close()
				f.upstream.Close()
				waitForDescriptors(t, before)
				mustWrite(t, bystander.client, maskedText("still"))
				mustRead(t, bystander.upstream, maskedText("still"))
			})
		}
	}
}

// waitForDescriptors waits until no more are open than there were.
func waitForDescriptors(t *testing.T, most int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.Now().Add(patience); descriptors(t) > most; <-tick.C {
		if time.Now().After(late) {
			t.Fatalf("%d descriptors are open, %d were before", descriptors(t), most)
		}
	}
}

// TestPanicAtEveryPlaceEndsTheConnectionOnce has everything panic that is done
// for a connection from some moment on, the ending of it too.
func TestPanicAtEveryPlaceEndsTheConnectionOnce(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(testing.TB, Config) *fixture{"tcp": onTCP, "tls": onTLS} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := open(t, Config{})
			f.run()
			mustWrite(t, f.client, maskedText("hi"))
			mustRead(t, f.upstream, maskedText("hi"))
			setTrap(t, f.Relay, func(at string) { panic("caught at " + at) })
			_, _ = f.client.Write(maskedText("more"))
			wantPanic(t, f.end(t), 1011)
			select {
			case o := <-f.outcome:
				t.Errorf("ended twice: %+v", o)
			default:
			}
		})
	}
}

// TestOthersOfTheSameTurnAreServed has many connections with something to say at
// once, and every second one panic.
func TestOthersOfTheSameTurnAreServed(t *testing.T) {
	t.Parallel()
	l := ownLoop(t)
	fixtures := make([]*fixture, 40)
	for i := range fixtures {
		at, c := []string{"event", "call", "write"}[i/2%3], Config{}
		if i%2 == 1 && at == "call" { // which a connection without a word does not need
			c.EarlyFromClient = maskedText("early")
		}
		f := onTCP(t, c)
		fixtures[i] = f
		if i%2 == 1 {
			trapAt(t, f.Relay, at)
		}
		f.startOn(t, l)
		_, _ = f.client.Write(maskedText("hi"))
	}
	go l.run()
	for i, f := range fixtures {
		if i%2 == 1 {
			wantPanic(t, f.end(t), 1011)
			continue
		}
		mustRead(t, f.upstream, maskedText("hi"))
		f.client.Close()
		f.upstream.Close()
		if o := f.end(t); o.Panic != nil {
			t.Errorf("a panic of another's: %v", o.Panic)
		}
	}
}

// ownLoop returns a loop that no other test uses and that does not turn yet.
func ownLoop(t *testing.T) *loop {
	t.Helper()
	l, err := newLoop()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// startOn starts the relay on the loop.
func (f *fixture) startOn(t *testing.T, l *loop) {
	t.Helper()
	client, upstream := socketOf(f.Relay.client.conn, tlsIsKnown), socketOf(f.Relay.upstream.conn, tlsIsKnown)
	if !f.Relay.startOn(l, client, upstream, func(o Outcome) { f.outcome <- o }) {
		t.Fatal("not on the loop")
	}
}

// TestLoopThatCannotGoOnEndsItsConnections has a panic that is no connection's.
func TestLoopThatCannotGoOnEndsItsConnections(t *testing.T) {
	t.Parallel()
	l := ownLoop(t)
	go l.run()
	fixtures := make([]*fixture, 10)
	for i := range fixtures {
		f := onTCP(t, Config{})
		fixtures[i] = f
		f.startOn(t, l)
		mustWrite(t, f.client, maskedText("hi"))
		mustRead(t, f.upstream, maskedText("hi"))
	}
	setTrap(t, fixtures[3].Relay, func(string) {
		l.busy = nil
		panic("caught in the loop")
	})
	mustWrite(t, fixtures[3].client, maskedText("more"))
	for _, f := range fixtures {
		wantEnd(t, f.end(t), Gateway, 1011, "internal error")
		mustReadClose(t, f.upstream, internalError)
		wantEOF(t, f.upstream)
		f.End(restart, goingAway)
	}
	late := onTCP(t, Config{})
	late.startOn(t, l)
	wantEnd(t, late.end(t), Gateway, 1011, "internal error")
	mustReadClose(t, late.client, internalError)
	wantEOF(t, late.client)
}

// TestLoopsThatGaveUpAreReplaced is not parallel, for it replaces the loops of
// the process.
func TestLoopsThatGaveUpAreReplaced(t *testing.T) {
	before := loops.Load()
	defer loops.Store(before)
	dead := ownLoop(t)
	dead.giveUp()
	all := []*loop{dead, dead}
	loops.Store(&all)
	for range 4 {
		f := onTCP(t, Config{})
		f.run()
		mustWrite(t, f.client, maskedText("hi"))
		mustRead(t, f.upstream, maskedText("hi"))
		if f.place.loop == nil || f.place.loop == dead {
			t.Error("not on a loop that lives")
		}
		f.client.Close()
		f.upstream.Close()
		f.end(t)
	}
}

// panickySocket panics when the relay asks for its descriptor.
type panickySocket struct{ *net.TCPConn }

func (panickySocket) PlainSocket() {}

func (panickySocket) SyscallConn() (syscall.RawConn, error) { panic("caught asking") }

func TestPanicInStartEndsTheConnection(t *testing.T) {
	t.Parallel()
	tests := map[string]func(t *testing.T, f *fixture){
		"client's socket": func(_ *testing.T, f *fixture) {
			f.Relay.client.conn = panickySocket{f.Relay.client.conn.(*net.TCPConn)}
		},
		"upstream's socket": func(_ *testing.T, f *fixture) {
			f.Relay.upstream.conn = panickySocket{f.Relay.upstream.conn.(*net.TCPConn)}
		},
		"taken over": func(t *testing.T, f *fixture) { trapAt(t, f.Relay, "start") },
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := onTCP(t, Config{})
			prepare(t, f)
			f.run()
			wantPanic(t, f.end(t), 1011)
			for _, c := range []net.Conn{f.client, f.upstream} {
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
					t.Errorf("read %v, want the end of the stream", err)
				}
			}
		})
	}
}

func TestLoopWaitsForNoConnectionThatIsGone(t *testing.T) {
	t.Parallel()
	for name, part := range map[string]func(l *loop, r *Relay){
		"ended":         func(l *loop, r *Relay) { l.close(r) },
		"wrecked":       func(l *loop, r *Relay) { l.wreck(r, internalError, nil) },
		"loop gives up": func(l *loop, _ *Relay) { l.giveUp() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := ownLoop(t)
			f := onTCP(t, Config{})
			f.startOn(t, l)
			f.End(restart, goingAway)
			l.now = time.Now()
			l.turn(0)
			at, waits := l.timers.next()
			if left := time.Duration(at - monotonic(time.Now())); !waits || left > defaultCloseTimeout+1<<tickBits {
				t.Fatalf("waits (%v) for what comes in %v", waits, left)
			}
			part(l, f.Relay)
			f.end(t)
			if at, waits := l.timers.next(); waits {
				t.Errorf("waits for %d", at)
			}
		})
	}
}

// TestConnectionThatFailsToBeginIsOverOnce has the loop hear of it later, when its
// descriptors are others'. It is not parallel, so that they are the test's.
func TestConnectionThatFailsToBeginIsOverOnce(t *testing.T) {
	l := ownLoop(t)
	f := onTCP(t, Config{})
	trapAt(t, f.Relay, "begin")
	f.startOn(t, l)
	client, upstream := int(f.Relay.client.socket.fd), int(f.Relay.upstream.socket.fd)
	if o := f.end(t); o.Panic == nil {
		t.Error("it began")
	}
	for _, fd := range []int{client, upstream} {
		if err := syscall.Dup3(l.caller, fd, syscall.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
	}
	f.callLoop()
	l.giveUp()
	for _, fd := range []int{client, upstream} {
		if err := syscall.Close(fd); err != nil {
			t.Errorf("another's descriptor was closed: %v", err)
		}
	}
	if len(f.outcome) > 0 {
		t.Error("it was over twice")
	}
}
