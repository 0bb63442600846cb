package durable

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

// gate holds up the first operation of a name on a key, before or after it is done.
type gate struct {
	operation, key string
	reached, open  chan struct{}
}

func newGate(operation, key string) *gate {
	return &gate{operation, key, make(chan struct{}), make(chan struct{})}
}

func (g *gate) hold(_ context.Context, operation, key string) error {
	if operation == g.operation && key == g.key {
		select {
		case <-g.reached:
		default:
			close(g.reached)
			<-g.open
		}
	}
	return nil
}

func (a *access) injectAfter(after func(ctx context.Context, operation, key string) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.after = after
}

func TestPassThatListedBeforeAPutForgetsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newProcess(t, newDisk())
		defer a.release()
		g := newGate("list", "ws_gateway/revocations/a")
		a.access.injectAfter(g.hold) // the list is made, and does not have it
		go func() { _ = a.book.lastVault().pass(t.Context()) }()
		<-g.reached
		a.mustPut("a1", "first")
		close(g.open)
		bubble.Elapse(time.Minute)
		a.wantRecords("a1=first")
		wantStored(t, a.access.disk, "a1=first")
	})
}

func TestRecordLoadedBeforeAPutDoesNotComeBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		d.set(keyOf("a1"), record(t, `"old"`))
		d.set(keyOf("a2"), record(t, `"old"`))
		a := newProcess(t, d)
		defer a.release()
		for id, change := range map[string]func(){
			"a1": func() { a.mustPut("a1", "new") },
			"a2": func() { a.mustDelete("a2") },
		} {
			g := newGate("load", keyOf(id))
			a.access.injectAfter(g.hold)
			a.book.lastVault().want()
			<-g.reached
			done := make(chan struct{})
			go func() { defer close(done); change() }()
			bubble.Elapse(time.Second)
			close(g.open)
			<-done
			bubble.Elapse(time.Minute)
		}
		a.wantRecords("a1=new")
		wantStored(t, d, "a1=new")
	})
}

func TestLastOfTwoProcessesWinsInTheMemoryOfBoth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		a, b := newProcess(t, d), newProcess(t, d)
		defer a.release()
		defer b.release()
		a.mustPut("a0", "first")
		g := newGate("store", keyOf("a1"))
		a.access.injectAfter(g.hold) // it is stored, and a does not know it yet
		done := make(chan struct{})
		go func() { defer close(done); a.mustPut("a1", "of a") }()
		<-g.reached
		b.mustPut("a1", "of b")
		close(g.open)
		<-done
		bubble.Elapse(3 * time.Second)
		a.wantRecords("a0=first", "a1=of b")
		b.wantRecords("a0=first", "a1=of b")
	})
}

func TestChangesDuringAReloadReachTheNewStorage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, second := newDisk(), newDisk()
		a := newProcess(t, first)
		old := a.access
		for _, id := range []string{"a1", "a2", "a3", "a4"} {
			a.mustPut(id, "old")
		}
		put, deletion := newGate("store", keyOf("a1")), newGate("delete", keyOf("a2"))
		old.injectAfter(func(ctx context.Context, operation, key string) error {
			_ = put.hold(ctx, operation, key)
			return deletion.hold(ctx, operation, key)
		})
		done := make(chan struct{}, 2)
		go func() { a.mustPut("a1", "slow"); done <- struct{}{} }()
		go func() { a.mustDelete("a2"); done <- struct{}{} }()
		<-put.reached
		<-deletion.reached
		a.access = &access{disk: second}
		release := a.book.Attach(t.Context(), a.access, a.logger)
		defer release()
		a.mustPut("a1", "last")
		a.mustPut("a3", "last")
		bubble.Elapse(5 * time.Second) // a2 is in the new storage by now
		close(put.open)
		close(deletion.open)
		<-done
		<-done
		a.release()
		bubble.Elapse(10 * time.Second)
		a.wantRecords("a1=last", "a3=last", "a4=old")
		wantStored(t, second, "a1=last", "a3=last", "a4=old")
	})
}

func TestChangeIsSeenWhileALongPassGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		for _, id := range ids(1000) {
			d.set(keyOf(id), record(t, `"first"`))
		}
		b := newProcess(t, d)
		defer b.release()
		b.mustPut("b1", "old")
		a := idleProcess(t, d)
		a.access.inject(func(ctx context.Context, operation, _ string) error {
			if operation == "load" {
				pause(ctx, 500*time.Millisecond)
			}
			return nil
		})
		a.attach()
		defer a.release()
		b.mustPut("b1", "new")
		bubble.Elapse(4 * time.Second)
		have := a.shelf.copy()
		if have["b1"] != `"new"` || len(have) > 500 {
			t.Errorf("%d records are there, b1 is %s", len(have), have["b1"])
		}
		bubble.Elapse(3 * time.Minute)
		if n := len(a.shelf.copy()); n != 1001 {
			t.Errorf("%d records are there in the end", n)
		}
	})
}

func TestDebtDoesNotOverwriteALaterPut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newProcess(t, newDisk())
		defer a.release()
		a.access.inject(failing("store"))
		if a.put("a1", "old") == nil {
			t.Error("Put returned no error")
		}
		g := newGate("store", keyOf("a1"))
		a.access.inject(g.hold)
		done := make(chan struct{})
		go func() { defer close(done); a.mustPut("a1", "new") }()
		<-g.reached
		bubble.Elapse(5 * time.Second) // the debt is waiting for its turn
		close(g.open)
		<-done
		bubble.Elapse(5 * time.Second)
		a.wantRecords("a1=new")
		wantStored(t, a.access.disk, "a1=new")
	})
}

func TestPutOutlivesTheInstanceThatItBeganWith(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		a := newProcess(t, d)
		a.mustPut("a0", "first")
		g := newGate("store", keyOf("a1"))
		a.access.inject(func(ctx context.Context, operation, key string) error {
			if key == keyOf("a1") {
				_ = g.hold(ctx, operation, key)
				return errInjected // it was closed
			}
			return nil
		})
		done := make(chan struct{})
		go func() { defer close(done); a.mustPut("a1", "first") }()
		<-g.reached
		a.reload(d)
		close(g.open)
		<-done
		a.release()
		wantStored(t, d, "a0=first", "a1=first")
		a.wantLogs()
	})
}

func TestPutOfLessDoesNotTakeThePlaceOfMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		a := newProcess(t, d)
		defer a.release()
		a.mustPut("a1", "more")
		d.set(keyOf("a1"), "") // whatever Put stores now counts
		if err := a.book.Put(t.Context(), "revocations", "a1", []byte(`"less"`)); err != nil {
			t.Error(err)
		}
		a.wantRecords("a1=more")
		wantStored(t, d, "a1=more")
	})
}

func TestLessOfAnotherProcessDoesNotTakeThePlaceOfMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		a, b := newProcess(t, d), newProcess(t, d)
		defer a.release()
		defer b.release()
		b.mustPut("a0", "first")
		bubble.Elapse(3 * time.Second)
		a.mustPut("a1", "more")
		b.mustPut("a1", "less") // it does not know of a's yet
		bubble.Elapse(8 * time.Second)
		for _, p := range []*process{a, b} {
			p.wantRecords("a0=first", "a1=more")
		}
		wantStored(t, d, "a0=first", "a1=more")
	})
}
