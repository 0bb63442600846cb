package live

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

func TestPanicInOneEndOnTimeLeavesTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended atomic.Int32
		d := &deadlines{end: func(c *Conn) {
			if c.UserID == "bad" {
				panic("secret")
			}
			ended.Add(1)
		}}
		before := panicked.Load()
		for i := range 10 {
			user := "good"
			if i%2 == 0 {
				user = "bad"
			}
			d.set(lone("g", user), time.Now().Add(time.Duration(1+i/5)*time.Minute))
		}
		elapse(time.Hour)
		synctest.Wait()
		if got := panicked.Load() - before; ended.Load() != 5 || got != 5 {
			t.Errorf("%d were ended and %d panics counted, want 5 and 5", ended.Load(), got)
		}
	})
}

func TestPanicInOneDepartureLeavesTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		s.Name("a:1")
		var peers []*bubble.Peer
		for range 6 {
			client, backend := open(t, s, "a:1", "a:1", time.Minute)
			peers = append(peers, client, backend)
		}
		var asked atomic.Int32
		before := panicked.Load()
		s.drainWhile(func(*Conn) bool { return true }, func(*Conn) bool {
			if asked.Add(1)%2 == 0 {
				panic("secret")
			}
			return true
		})
		elapse(2 * time.Minute)
		synctest.Wait()
		left := len(s.list(func(*Conn) bool { return true }))
		if got := panicked.Load() - before; left != 3 || got != 3 {
			t.Errorf("%d are left and %d panics were counted, want 3 and 3", left, got)
		}
		for _, p := range peers {
			_ = p.Close()
		}
	})
}

// closer is a server that panics when it is closed.
type closer struct{ closed chan struct{} }

func (closer) Gone() bool { return false }

func (c closer) Close() error { defer close(c.closed); panic("secret") }

func TestPanicWhileAServerIsHungUpOnIsContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		s.Name("a:1")
		c := lone("g", "u")
		server := closer{make(chan struct{})}
		c.Server, c.member = server, "a:1"
		s.Add(c)
		before := panicked.Load()
		s.HangUp()
		s.Remove(c)
		<-server.closed
		synctest.Wait()
		if got := panicked.Load() - before; got != 1 {
			t.Errorf("%d panics were counted, want 1", got)
		}
	})
}
