package relay

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

// What tests want to panic, by relay.
var (
	trapped sync.Map
	traps   atomic.Int64
)

func init() {
	trap = func(r *Relay, at string) {
		if traps.Load() == 0 {
			return
		}
		if spring, ok := trapped.Load(r); ok {
			spring.(func(string))(at)
		}
	}
}

// trapAt makes the relay panic at a point, each time it comes there.
func trapAt(tb testing.TB, r *Relay, point string) {
	tb.Helper()
	setTrap(tb, r, func(at string) {
		if at == point {
			panic("caught at " + at)
		}
	})
}

func setTrap(tb testing.TB, r *Relay, spring func(at string)) {
	tb.Helper()
	trapped.Store(r, spring)
	traps.Add(1)
	tb.Cleanup(func() { trapped.Delete(r); traps.Add(-1) })
}

// panickyConn panics as told; otherwise it is the conn within.
type panickyConn struct {
	net.Conn
	read, write, deadline, closing atomic.Bool
	closes                         atomic.Int32
}

func (p *panickyConn) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	if p.read.Load() {
		panic("caught reading")
	}
	return n, err
}

func (p *panickyConn) Write(b []byte) (int, error) {
	if p.write.Load() {
		panic("caught writing")
	}
	return p.Conn.Write(b)
}

func (p *panickyConn) SetWriteDeadline(t time.Time) error {
	if p.deadline.Load() {
		panic("caught setting a deadline")
	}
	return p.Conn.SetWriteDeadline(t)
}

func (p *panickyConn) Close() error {
	p.closes.Add(1)
	_ = p.Conn.Close()
	if p.closing.Load() {
		panic("caught closing")
	}
	return nil
}

// panicky is a relay on goroutines of which anything may panic.
type panicky struct {
	*fixture
	ourClient, ourUpstream *panickyConn
}

func newPanicky() panicky {
	f := onPipes(Config{WriteTimeout: time.Minute})
	x := panicky{f, &panickyConn{Conn: f.Relay.client.conn.(net.Conn)}, &panickyConn{Conn: f.Relay.upstream.conn.(net.Conn)}}
	f.Relay.client.conn, f.Relay.upstream.conn = x.ourClient, x.ourUpstream
	return x
}

func sayHi(_ *testing.T, x panicky) { _, _ = x.client.Write(maskedText("hi")) }

const noClose = 0

var panicsOnGoroutines = map[string]struct {
	prepare func(t *testing.T, x panicky)
	play    func(t *testing.T, x panicky) // after the beginning
	client  int                           // the code of the last close frame that each side gets
	up      int
	code    int
}{
	"reading from the client": {
		func(_ *testing.T, x panicky) { x.ourClient.read.Store(true) }, sayHi, 1011, 1011, 1011,
	},
	"reading from the upstream": {
		func(_ *testing.T, x panicky) { x.ourUpstream.read.Store(true) },
		func(_ *testing.T, x panicky) { _, _ = x.upstream.Write(text("hi")) }, 1011, 1011, 1011,
	},
	"writing": {
		func(_ *testing.T, x panicky) { x.ourUpstream.write.Store(true) }, sayHi, 1011, noClose, 1011,
	},
	"writing a last close frame": {
		func(_ *testing.T, x panicky) { x.ourUpstream.read.Store(true); x.ourClient.write.Store(true) },
		func(_ *testing.T, x panicky) { _, _ = x.upstream.Write(text("hi")) }, noClose, 1011, 1011,
	},
	"setting a deadline": {
		func(_ *testing.T, x panicky) { x.ourUpstream.deadline.Store(true) }, sayHi, 1011, noClose, 1011,
	},
	"between the frames": {
		func(t *testing.T, x panicky) { trapAt(t, x.Relay, "pump") }, sayHi, 1011, noClose, 1011,
	},
	"under the lock": {
		func(t *testing.T, x panicky) { trapAt(t, x.Relay, "locked") }, sayHi, 1011, noClose, 1011,
	},
	"at the beginning": {
		func(t *testing.T, x panicky) { trapAt(t, x.Relay, "begin") }, func(*testing.T, panicky) {}, 1011, 1011, 1011,
	},
	"in End": {
		func(t *testing.T, x panicky) { trapAt(t, x.Relay, "end") },
		func(_ *testing.T, x panicky) { x.End(restart, goingAway) }, 1011, 1011, restart.Code,
	},
	"in End, before the beginning": {
		func(t *testing.T, x panicky) { trapAt(t, x.Relay, "end"); x.End(restart, goingAway) },
		func(*testing.T, panicky) {}, 1011, 1011, restart.Code,
	},
	"in a close frame's goroutine": {
		func(t *testing.T, x panicky) { trapAt(t, x.Relay, "inject") },
		func(_ *testing.T, x panicky) { x.End(restart, goingAway) }, noClose, noClose, restart.Code,
	},
	"when time is up": {
		func(t *testing.T, x panicky) { trapAt(t, x.Relay, "deadline") },
		func(_ *testing.T, x panicky) { x.End(restart, goingAway) }, restart.Code, goingAway.Code, restart.Code,
	},
	"closing both": {
		func(_ *testing.T, x panicky) { x.ourClient.closing.Store(true); x.ourUpstream.closing.Store(true) },
		func(_ *testing.T, x panicky) { x.End(restart, goingAway) }, restart.Code, goingAway.Code, restart.Code,
	},
}

// TestPanicOnGoroutinesEndsTheConnection lets everything panic that goroutines of a
// relay run. A bubble also fails if a goroutine outlives the test.
func TestPanicOnGoroutinesEndsTheConnection(t *testing.T) {
	t.Parallel()
	for name, tt := range panicsOnGoroutines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				x := newPanicky()
				tt.prepare(t, x)
				toClient, toUpstream := record(x.client), record(x.upstream)
				x.run()
				synctest.Wait()
				tt.play(t, x)
				wantPanic(t, x.end(t), tt.code)
				wantLast(t, "client", (<-toClient).data, tt.client)
				wantLast(t, "upstream", (<-toUpstream).data, tt.up)
				if c, u := x.ourClient.closes.Load(), x.ourUpstream.closes.Load(); c == 0 || u == 0 {
					t.Errorf("the conns were closed %d and %d times", c, u)
				}
				x.End(restart, goingAway) // none of them may find the lock held
				x.LastActive()
				x.Counts()
			})
		})
	}
}

// wantPanic wants a connection to have ended by a panic that says where it was.
func wantPanic(t *testing.T, o Outcome, code int) {
	t.Helper()
	if o.Panic == nil || o.By != Gateway || o.Code != code {
		t.Fatalf("ended by %v with %d %q and the panic %v, want one and by the gateway with %d", o.By, o.Code, o.Reason, o.Panic, code)
	}
	if strings.Contains(o.Panic.What, "caught") || !strings.Contains(o.Panic.Stack, "internal/relay.") {
		t.Errorf("the panic is %q at\n%s", o.Panic.What, o.Panic.Stack)
	}
}

// wantLast wants a stream to end with a close frame, or to have none where code
// is 0.
func wantLast(t *testing.T, who string, stream []byte, code int) {
	t.Helper()
	if code == 0 {
		if len(stream) > 0 && stream[0] == 0x88 {
			t.Errorf("the %s got %x, want no close frame", who, stream)
		}
		return
	}
	if _, c := closeOf(t, stream); c.Code != code {
		t.Errorf("the %s was closed with %d %q, want %d", who, c.Code, c.Reason, code)
	}
}

// TestPanicInPingLetsRunReturn has the upstream's pump wait for a ping whose writing
// panics.
func TestPanicInPingLetsRunReturn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := onPipes(Config{Policy: &Policy{PingInterval: 10 * time.Second, PingTimeout: time.Minute}})
		wait := make(chan struct{})
		setTrap(t, f.Relay, func(at string) {
			if at == "ping" {
				<-wait
				panic("caught at ping")
			}
		})
		f.run()
		bubble.Elapse(11 * time.Second)
		go func() { _, _ = f.upstream.Write(text("waits for the ping")) }()
		synctest.Wait()
		close(wait)
		bubble.Elapse(time.Minute)
		select {
		case o := <-f.outcome:
			if o.Panic == nil || o.Code != 1011 {
				t.Errorf("ended with %+v", o)
			}
		default:
			t.Error("Run has not returned a minute after the panic")
			f.mu.Lock()
			close(f.pumps.handback) // so that the bubble can end
			f.mu.Unlock()
		}
		leave(f)
	})
}
