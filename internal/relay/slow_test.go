package relay

import (
	"bytes"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// slowly is how a test has relays run whose budget is its own.
type slowly struct {
	budget *budget
	run    func(*fixture)
	open   func(testing.TB, Config) *fixture
}

// onOwnGoroutines has goroutines relay.
func onOwnGoroutines(_ *testing.T, most int64) slowly {
	b := new(budget)
	b.set(most)
	writes := &blockedWrites{budget: b}
	return slowly{b, func(f *fixture) {
		own := sharedBuffers
		own.writes = writes
		f.buffers = &own
		f.runOnGoroutines()
	}, onTCP}
}

// flood has the upstream of a relay send messages of a size until it cannot.
func flood(f *fixture, size int, all *sync.WaitGroup) {
	all.Go(func() {
		message := frame(wsframe.Binary, false, bytes.Repeat([]byte("x"), size))
		message = bytes.Repeat(message, max(1, 64<<10/len(message)))
		for {
			if _, err := f.upstream.Write(message); err != nil {
				return
			}
		}
	})
	all.Go(func() { _, _ = io.Copy(io.Discard, f.upstream) })
}

// small has the kernel hold little for a client of a relay, and of what floods it: many
// connections would use up what the kernel has for all sockets.
func small(tb testing.TB, f *fixture) {
	tb.Helper()
	_ = f.Relay.upstream.conn.(*net.TCPConn).SetReadBuffer(32 << 10)
	_ = beneath(f.upstream).SetWriteBuffer(32 << 10)
	_ = beneath(f.client).SetReadBuffer(8 << 10)
	conn, ok := f.Relay.client.conn.(*net.TCPConn)
	if !ok {
		conn = f.Relay.client.conn.(interface{ NetConn() net.Conn }).NetConn().(*net.TCPConn)
	}
	if err := conn.SetWriteBuffer(8 << 10); err != nil {
		tb.Fatal(err)
	}
}

// slowCases are the ways in which a side may be relayed to.
func slowCases() map[string]func(t *testing.T, most int64) slowly {
	cases := map[string]func(t *testing.T, most int64) slowly{"goroutines": onOwnGoroutines}
	maps.Copy(cases, slowOnLoop)
	return cases
}

// TestStalledStayWithinTheBudget floods clients of which none reads.
func TestStalledStayWithinTheBudget(t *testing.T) {
	t.Parallel()
	for name, how := range slowCases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const many, most = 200, 1 << 20
			s := how(t, most)
			var all sync.WaitGroup
			fixtures := make([]*fixture, many)
			for i := range fixtures {
				f := s.open(t, Config{WriteTimeout: time.Minute, CloseTimeout: 50 * time.Millisecond})
				fixtures[i] = f
				small(t, f)
				s.run(f)
				flood(f, 100, &all)
			}
			var peak int64
			eventually(t, "some to be ended", func() bool {
				used := s.budget.used.Load()
				peak = max(peak, used)
				ended := 0
				for _, f := range fixtures {
					ended += len(f.outcome)
				}
				return ended > 10 && used <= most
			})
			if bound := int64(most + overshoot); peak > bound && name != "goroutines" {
				t.Errorf("up to %d bytes were held, want at most %d", peak, bound)
			}
			limited := 0
			for _, f := range fixtures {
				select {
				case o := <-f.outcome:
					limited++
					wantEnd(t, o, Gateway, 1013, "overloaded: slow consumer")
					if o.Limit != LimitBuffers {
						t.Errorf("the limit is %q", o.Limit)
					}
					f.outcome <- o
				default:
				}
				f.End(restart, goingAway)
			}
			t.Logf("%d of %d were ended, and up to %d bytes were held", limited, many, peak)
			for _, f := range fixtures {
				f.end(t)
				_ = beneath(f.client).Close()
				_ = f.upstream.Close()
			}
			all.Wait()
			eventually(t, "nothing to be held", func() bool { return s.budget.used.Load() == 0 })
			for _, f := range fixtures {
				if toClient, toUpstream := f.Pending(); toClient != 0 || toUpstream != 0 {
					t.Errorf("pending are %d and %d bytes of a connection that has ended", toClient, toUpstream)
				}
			}
		})
	}
}

// stallOneByOne has one client after the other stop reading, and returns them in that
// order. Each leaves a message of size bytes, or the rest of one, to be held.
func stallOneByOne(t *testing.T, s slowly, many, size int, c Config) []*fixture {
	t.Helper()
	message := frame(wsframe.Binary, false, bytes.Repeat([]byte("x"), size))
	fixtures := make([]*fixture, many)
	for i := range fixtures {
		f := s.open(t, c)
		fixtures[i] = f
		small(t, f)
		s.run(f)
		for n := uint64(1); !f.stallsAt(t, n); n++ {
			mustWrite(t, f.upstream, message)
		}
	}
	return fixtures
}

// stallsAt waits until all messages of the upstream before the one with a number are
// passed on, or one is held and stays so, which it reports.
func (f *fixture) stallsAt(t *testing.T, n uint64) (stalls bool) {
	t.Helper()
	eventually(t, "a message to be passed on, or held", func() bool {
		stalls = f.stalls()
		_, fromUpstream := f.Counts()
		return stalls || fromUpstream.Binary+1 >= n
	})
	return stalls
}

// stalls reports whether something is pending, and stays so. That it does at one look
// says nothing where the relay does not get on.
func (f *fixture) stalls() bool {
	pending, _ := f.Pending()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for range 5 {
		if now, _ := f.Pending(); now == 0 || now != pending {
			return false
		}
		<-tick.C
	}
	return true
}

// TestTheLongestStalledIsEndedFirst sheds one connection, and then another. On a loop, one
// whose client has acknowledged something since its side stalled counts as having moved;
// the order is that of TestStalledAreInTheOrderOfTheirLastMove.
func TestTheLongestStalledIsEndedFirst(t *testing.T) {
	t.Parallel()
	for name, how := range slowCases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := how(t, 1<<20)
			left := stallOneByOne(t, s, 4, 400, Config{WriteTimeout: time.Minute, CloseTimeout: time.Minute})
			for range 2 {
				s.shedOne()
				ended := -1
				eventually(t, "one to be ended", func() bool {
					ended = slices.IndexFunc(left, func(f *fixture) bool { return f.isEnding() })
					return ended >= 0
				})
				if name == "goroutines" && ended != 0 {
					t.Errorf("the one that stalled as number %d was ended first", ended)
				}
				f := left[ended]
				left = slices.Delete(left, ended, ended+1)
				mustReadClose(t, f.upstream, Close{1011, "client reads too slowly"})
				if slices.ContainsFunc(left, func(f *fixture) bool { return f.isEnding() }) {
					t.Error("another is ending as well")
				}
				// It reads again, and is told behind the messages that are whole.
				mustWrite(t, f.upstream, closeFrame(1011, ""))
				var got bytes.Buffer
				readToClose(t, f.client, &got)
				if _, c := closeOf(t, got.Bytes()); c.Code != 1013 || c.Reason != "overloaded: slow consumer" {
					t.Errorf("it was told %d %q", c.Code, c.Reason)
				}
				mustWrite(t, f.client, maskedClose(1013, ""))
				wantEnd(t, f.end(t), Gateway, 1013, "overloaded: slow consumer")
			}
			s.budget.set(1 << 20)
			for _, f := range left {
				_ = beneath(f.client).Close()
				_ = f.upstream.Close()
				f.end(t)
			}
			eventually(t, "nothing to be held", func() bool { return s.budget.used.Load() == 0 })
		})
	}
}

// readToClose reads until a close frame has come.
func readToClose(t *testing.T, c io.Reader, got *bytes.Buffer) {
	t.Helper()
	var s wsframe.Scanner
	p := make([]byte, 4<<10)
	for !s.Closed() {
		n, err := c.Read(p)
		got.Write(p[:n])
		s.Scan(p[:n])
		if err != nil {
			t.Fatalf("after %d bytes: %v", got.Len(), err)
		}
	}
}

// waitToBeHeld waits until something is held for a side and stays so.
func waitToBeHeld(t *testing.T, f *fixture, s Party) {
	t.Helper()
	before := 0
	tick := time.NewTicker(2 * lookEvery)
	defer tick.Stop()
	eventually(t, "something to be held", func() bool {
		<-tick.C
		now, toUpstream := f.Pending()
		if s == Upstream {
			now = toUpstream
		}
		stays := now > 0 && now == before
		before = now
		return stays
	})
}

// shedAll has the budget hold nothing.
func (s slowly) shedAll() {
	s.budget.set(1)
	s.budget.charge(0)
}

// shedOne has the budget hold less than there is.
func (s slowly) shedOne() {
	s.budget.set(s.budget.used.Load() - 1)
	s.budget.charge(0)
}

// TestSlowSideWithinALargeFrameIsJustClosed has a client that has got the beginning of a
// frame too large to be held for it.
func TestSlowSideWithinALargeFrameIsJustClosed(t *testing.T) {
	t.Parallel()
	for name, how := range slowCases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := how(t, 1<<20)
			f := s.open(t, Config{WriteTimeout: time.Minute, CloseTimeout: 200 * time.Millisecond})
			small(t, f)
			s.run(f)
			var all sync.WaitGroup
			flood(f, 10<<20, &all)
			waitToBeHeld(t, f, Client)
			s.shedAll()
			eventually(t, "nothing to be held", func() bool { return s.budget.used.Load() == 0 })
			_ = beneath(f.client).SetReadDeadline(time.Now().Add(patience))
			stream, _ := io.ReadAll(f.client)
			var scan wsframe.Scanner
			scan.Scan(stream)
			if scan.AtBoundary() || scan.Closed() {
				t.Errorf("the stream to the client ends after %d bytes between two frames", len(stream))
			}
			wantEnd(t, f.end(t), Gateway, 1013, "overloaded: slow consumer")
			_ = f.upstream.Close()
			all.Wait()
		})
	}
}

// TestSlowUpstreamSendsItsClientElsewhere has the client come back, as it would not after
// 1011 or 1013.
func TestSlowUpstreamSendsItsClientElsewhere(t *testing.T) {
	t.Parallel()
	for name, how := range slowCases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := how(t, 1<<20)
			f := s.open(t, Config{WriteTimeout: time.Minute})
			_ = beneath(f.upstream).SetReadBuffer(8 << 10)
			_ = f.Relay.upstream.conn.(*net.TCPConn).SetWriteBuffer(8 << 10)
			s.run(f)
			flooded := make(chan struct{})
			go func() {
				defer close(flooded)
				message := bytes.Repeat(frame(wsframe.Binary, true, []byte("0123456789")), 1000)
				for {
					if _, err := f.client.Write(message); err != nil {
						return
					}
				}
			}()
			waitToBeHeld(t, f, Upstream)
			s.shedOne()
			mustReadClose(t, f.client, Close{1012, "upstream reads too slowly"})
			var got bytes.Buffer
			readToClose(t, f.upstream, &got)
			if _, c := closeOf(t, got.Bytes()); c.Code != 1013 {
				t.Errorf("the upstream was told %d %q", c.Code, c.Reason)
			}
			mustWrite(t, f.upstream, closeFrame(1013, ""))
			_ = beneath(f.client).Close()
			<-flooded
			o := f.end(t)
			wantEnd(t, o, Gateway, 1012, "upstream reads too slowly")
			if o.Limit != LimitBuffers {
				t.Errorf("the limit is %q", o.Limit)
			}
			eventually(t, "nothing to be held", func() bool { return s.budget.used.Load() == 0 })
		})
	}
}

// TestNothingIsHeldAfterTheEnd ends connections with a client that does not read in all
// ways.
func TestNothingIsHeldAfterTheEnd(t *testing.T) {
	t.Parallel()
	ends := map[string]func(*testing.T, slowly, *fixture){
		"by the gateway":    func(_ *testing.T, _ slowly, f *fixture) { f.End(restart, goingAway) },
		"by the client":     func(_ *testing.T, _ slowly, f *fixture) { _ = beneath(f.client).Close() },
		"by the upstream":   func(_ *testing.T, _ slowly, f *fixture) { _ = f.upstream.Close() },
		"for being slow":    func(_ *testing.T, s slowly, _ *fixture) { s.shedAll() },
		"twice":             func(_ *testing.T, s slowly, f *fixture) { f.End(restart, goingAway); s.shedAll() },
		"the other way":     func(_ *testing.T, s slowly, f *fixture) { s.shedAll(); f.End(restart, goingAway) },
		"by a panic":        func(t *testing.T, s slowly, f *fixture) { trapAt(t, f.Relay, "slow"); s.shedAll() },
		"by the time":       func(*testing.T, slowly, *fixture) {},
		"by a client alive": func(_ *testing.T, _ slowly, f *fixture) { _, _ = f.client.Write(maskedClose(1000, "")) },
	}
	for name, how := range slowCases() {
		for cause, end := range ends {
			t.Run(name+"/"+cause, func(t *testing.T) {
				t.Parallel()
				s := how(t, 1<<20)
				f := s.open(t, Config{WriteTimeout: 2 * time.Second, CloseTimeout: 100 * time.Millisecond, LingerTimeout: 50 * time.Millisecond})
				small(t, f)
				s.run(f)
				var all sync.WaitGroup
				flood(f, 1000, &all)
				waitToBeHeld(t, f, Client)
				if s.budget.used.Load() == 0 {
					t.Error("what is held is not charged")
				}
				end(t, s, f)
				f.end(t)
				eventually(t, "nothing to be held", func() bool { return s.budget.used.Load() == 0 })
				_ = beneath(f.client).Close()
				_ = f.upstream.Close()
				all.Wait()
			})
		}
	}
}

func TestRestOfFrameIsFoundWhereverAWriteEnds(t *testing.T) {
	t.Parallel()
	var stream []byte
	var ends []int
	for _, size := range []int{0, 5, 125, 126, 70_000, 1, 0, 300} {
		stream = append(stream, frame(wsframe.Binary, size%2 == 0, make([]byte, size))...)
		ends = append(ends, len(stream))
	}
	for _, from := range []int{0, 1, 8, 500, 50_000} { // where the piece begins
		for upTo := from; upTo <= len(stream); upTo += 1 + upTo%7*311 {
			var s side
			s.scan.Scan(stream[:from])
			begun := s.begun()
			for sent := 0; sent <= upTo-from; sent += 1 + sent%5*97 {
				want := unknownRest
				for _, end := range append([]int{0}, ends...) {
					if end >= from+sent && end <= upTo {
						want = end - from - sent
						break
					}
				}
				if begun == unknownRest {
					want = unknownRest // the piece begins within a header
				}
				if got := RestOfFrame(stream[from:upTo], begun, sent); got != want {
					t.Fatalf("of %d to %d, with %d sent, the rest is %d, want %d", from, upTo, sent, got, want)
				}
			}
		}
	}
}
