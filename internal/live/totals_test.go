package live

import (
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// The totals of a gateway are those of a model while connections come, carry and go: never
// less than what is known to have come, never more than what was sent, and never less than
// before.
func TestTotalsAreExactWhileConnectionsComeAndGo(t *testing.T) {
	t.Parallel()
	s := newSet()
	s.Name("a:1")
	var sent, came, opened atomic.Int64
	carry := func(messages int) {
		c, client, backend := prepare(t, s, "a:1", "a:1", 0)
		s.Add(c)
		opened.Add(1)
		var over sync.WaitGroup
		over.Go(func() { run(c) })
		for range messages {
			sent.Add(1)
			if _, err := client.Write([]byte{0x81, 0x82, 0, 0, 0, 0, 'h', 'i'}); err != nil {
				t.Error(err)
				return
			}
			if _, err := io.ReadFull(backend, make([]byte, 8)); err != nil {
				t.Error(err)
				return
			}
			came.Add(1)
		}
		_ = client.Close()
		_ = backend.Close()
		over.Wait()
	}
	stop := make(chan struct{})
	var watch, work sync.WaitGroup
	for range 2 {
		watch.Go(func() {
			var before uint64
			for {
				least := uint64(came.Load())
				got := s.Totals()["test"].FromClient
				if most := uint64(sent.Load()); got.Text < max(least, before) || got.Text > most || got.Bytes != 2*got.Text {
					t.Errorf("%+v, after %d, and of %d to %d", got, before, least, most)
					return
				}
				before = got.Text
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for worker := range 8 {
		work.Go(func() {
			for i := range 40 {
				carry((worker + i) % 7)
			}
		})
	}
	work.Wait()
	close(stop)
	watch.Wait()
	if got := s.Totals()["test"].FromClient; got.Text != uint64(sent.Load()) || s.Len() != 0 {
		t.Errorf("%+v in the end, and %d live, want %d and none", got, s.Len(), sent.Load())
	}
	var ended uint64
	for code, n := range s.journal.activity("test", Totals{}).Closes {
		t.Logf("%s: %d", code, n)
		ended += n
	}
	if ended != uint64(opened.Load()) {
		t.Errorf("%d have ended, of %d", ended, opened.Load())
	}
}

func TestTotalsCountByType(t *testing.T) {
	t.Parallel()
	a := Totals{FromClient: trafficOf(wsframe.Counts{Text: 1, Binary: 2, Pings: 3, Pongs: 4, Closes: 5, Bytes: 6})}
	a.add(Totals{FromClient: Traffic{1, 1, 1, 1, 1, 1}, FromUpstream: Traffic{Text: 9}})
	if want := (Totals{Traffic{2, 3, 4, 5, 6, 7}, Traffic{Text: 9}}); a != want || a.FromClient.Messages() != 5 {
		t.Errorf("%+v, want %+v", a, want)
	}
}
