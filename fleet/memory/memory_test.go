package memory

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/internal/enginetest"
)

func TestEngine(t *testing.T) {
	enginetest.Run(t, func(*testing.T) enginetest.Rig {
		now := time.Unix(1_800_000_000, 0)
		f := New(func() time.Time { return now })
		return enginetest.Rig{Open: f.Engine, Advance: func(d time.Duration) { now = now.Add(d) }, Flush: f.Flush}
	})
}

func joined(t *testing.T, f *Fleet, id string) fleet.Engine {
	t.Helper()
	engine := f.Engine()
	if err := engine.Assert(t.Context(), &fleet.Share{Node: id, Seq: 1, Beat: fleet.Beat{Void: time.Hour}}); err != nil {
		t.Fatal(err)
	}
	return engine
}

func TestFailureEndsCallsAndListening(t *testing.T) {
	f := New(time.Now)
	engine := joined(t, f, "a")
	listening, ended := make(chan struct{}), make(chan error)
	go func() { ended <- engine.Listen(t.Context(), "a", func() { close(listening) }, func([]byte) {}) }()
	<-listening
	broken := errors.New("broken")
	f.Fail(broken)
	if err := <-ended; !errors.Is(err, broken) {
		t.Errorf("listening: %v", err)
	}
	if _, err := engine.Exchange(t.Context(), &fleet.Batch{Node: "a", Seq: 2, Last: 1}); !errors.Is(err, broken) {
		t.Errorf("a batch: %v", err)
	}
	f.Fail(nil)
	if _, err := engine.Exchange(t.Context(), &fleet.Batch{Node: "a", Seq: 2, Last: 1}); err != nil {
		t.Errorf("then: %v", err)
	}
}

func TestStalledCallsAreAppliedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(time.Now)
		a, b := joined(t, f, "a"), joined(t, f, "b")
		f.Stall()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		batch := &fleet.Batch{Node: "a", Seq: 2, Last: 1, Sets: []fleet.Set{{Key: "k", Count: 3}}}
		if _, err := a.Exchange(ctx, batch); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		batch.Sets[0].Count = 9 // the node may use it again
		waits := make(chan error)
		go func() { waits <- b.Tell(t.Context(), "", nil) }()
		synctest.Wait()
		f.Resume()
		if err := <-waits; err != nil {
			t.Errorf("who waited: %v", err)
		}
		answer, err := b.Exchange(t.Context(), &fleet.Batch{Node: "b", Seq: 2, Last: 1, Claims: []fleet.Claim{{Keys: []fleet.Capped{{Key: "k"}}}}})
		if err != nil || answer.Claims[0].Others[0] != 3 {
			t.Errorf("got %+v, %v", answer, err)
		}
	})
}
