package durable

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

func TestReloadOfTheSameStorageGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		other := newProcess(t, d)
		defer other.release()
		other.mustPut("a1", "first")
		a := newProcess(t, d)
		for range 3 {
			a.reload(d)
			if passes := a.access.counted("list"); passes != 0 {
				t.Errorf("the new instance was listed %d times by the end of the reload", passes)
			}
			bubble.Elapse(time.Second)
		}
		a.mustPut("a2", "second")
		other.mustPut("a3", "third")
		other.mustDelete("a1")
		bubble.Elapse(3 * time.Second)
		a.wantRecords("a2=second", "a3=third")
		other.wantRecords("a2=second", "a3=third")
		a.release()
		a.wantRecords("a2=second", "a3=third")
		a.wantLogs()
	})
}

func TestReloadToAnotherStorageLosesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, second := newDisk(), newDisk()
		second.set(keyOf("a2"), record(t, `"theirs"`))
		second.set(keyOf("a3"), record(t, `"also theirs"`))
		a := newProcess(t, first)
		a.mustPut("a1", "ours")
		a.mustPut("a2", "ours")
		a.reload(second)
		a.wantRecords("a1=ours", "a2=theirs", "a3=also theirs")
		bubble.Elapse(3 * time.Second)
		wantStored(t, second, "a1=ours", "a2=theirs", "a3=also theirs")
		wantStored(t, first, "a1=ours", "a2=ours")
		a.mustDelete("a1")
		bubble.Elapse(10 * time.Minute)
		wantStored(t, second, "a2=theirs", "a3=also theirs")
		a.release()
		a.wantLogs()
	})
}

func TestReloadThatFailsReturnsToTheStorageBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, second := newDisk(), newDisk()
		a := newProcess(t, first)
		defer a.release()
		a.mustPut("a1", "before")
		fresh := &access{disk: second}
		release := a.book.Attach(t.Context(), fresh, a.logger)
		a.mustPut("a2", "meanwhile")
		wantStored(t, second, "a2=meanwhile")
		release()
		release() // counts once
		bubble.Elapse(3 * time.Second)
		a.mustPut("a3", "after")
		wantStored(t, first, "a1=before", "a2=meanwhile", "a3=after")
		other := newProcess(t, first)
		defer other.release()
		other.mustPut("a4", "other")
		bubble.Elapse(3 * time.Second)
		a.wantRecords("a1=before", "a2=meanwhile", "a3=after", "a4=other")
	})
}

func TestInstanceIsUsedUntilTheLastOfItsAttachmentsIsReleased(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newProcess(t, newDisk())
		again := a.book.Attach(t.Context(), a.access, a.logger)
		a.release()
		a.mustPut("a1", "first")
		again()
		polls := a.access.counted("list")
		bubble.Elapse(time.Hour)
		if more := a.access.counted("list") - polls; more != 0 {
			t.Errorf("%d lists after the release", more)
		}
	})
}

func TestReattachmentKnowsWhatOthersHaveDeleted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		a, other := newProcess(t, d), newProcess(t, d)
		defer other.release()
		a.mustPut("a1", "first")
		a.mustPut("a2", "second")
		bubble.Elapse(3 * time.Second)
		a.release()
		other.mustDelete("a1")
		other.mustPut("a2", "changed")
		bubble.Elapse(time.Minute)
		hasEnded := func() bool {
			j, err := openJournal(d.get(journalKey(a.book.id)))
			return err == nil && j.Ended
		}
		if !hasEnded() {
			t.Error("the journal does not say that it has ended")
		}
		a.attach()
		defer a.release()
		bubble.Elapse(3 * time.Second)
		if hasEnded() {
			t.Error("the journal still says that it has ended")
		}
		a.wantRecords("a2=changed")
		wantStored(t, d, "a2=changed")
	})
}

func TestAttachDoesNotWaitForeverForAStorageThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		d.set(keyOf("a1"), record(t, `"first"`))
		a := idleProcess(t, d)
		hang := make(chan struct{})
		a.access.inject(func(context.Context, string, string) error { <-hang; return nil })
		begin := time.Now()
		a.attach()
		if took := time.Since(begin); took != patience {
			t.Errorf("it took %v", took)
		}
		a.wantLogs(zapcore.ErrorLevel)
		a.wantRecords()
		close(hang)
		bubble.Elapse(time.Minute)
		a.wantRecords("a1=first")
		a.release()
	})
}

func TestStorageThatFailsAtFirstIsLoadedLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		d.set(keyOf("a1"), record(t, `"first"`))
		a := idleProcess(t, d)
		a.access.inject(failing("load"))
		a.attach()
		defer a.release()
		bubble.Elapse(time.Minute)
		a.access.inject(nil)
		bubble.Elapse(time.Minute)
		a.wantRecords("a1=first")
		a.wantLogs(zapcore.WarnLevel, zapcore.ErrorLevel, zapcore.InfoLevel)
	})
}

func TestHungCallsHoldUpNeitherPutNorRelease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newProcess(t, newDisk())
		hang := make(chan struct{})
		var hung, most atomic.Int32
		a.access.inject(func(context.Context, string, string) error {
			most.Store(max(most.Load(), hung.Add(1)))
			defer hung.Add(-1)
			<-hang
			return nil
		})
		for _, id := range ids(100) {
			go func() { _ = a.put(id, "hung") }()
		}
		begin := time.Now()
		if err := a.put("a1", "first"); err == nil {
			t.Error("Put returned no error")
		}
		if took := time.Since(begin); took > timeout {
			t.Errorf("it took %v", took)
		}
		bubble.Elapse(time.Minute)
		if most.Load() > maxCalls {
			t.Errorf("%d calls hung", most.Load())
		}
		close(hang)
		a.access.inject(nil)
		bubble.Elapse(time.Minute)
		if n := len(a.access.disk.keys("ws_gateway/revocations")); n != 101 {
			t.Errorf("%d records are stored in the end", n)
		}
		hang = make(chan struct{})
		a.access.inject(func(context.Context, string, string) error { <-hang; return nil })
		bubble.Elapse(3 * time.Second)
		begin = time.Now()
		a.release()
		if took := time.Since(begin); took > parting {
			t.Errorf("the release took %v", took)
		}
		close(hang)
	})
}

func TestPutThatWasGivenUpDoesNotOverwriteALaterOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newProcess(t, newDisk())
		defer a.release()
		a.mustPut("a0", "other")
		hang := make(chan struct{})
		a.access.inject(func(_ context.Context, operation, key string) error {
			if operation == "store" && key == keyOf("a1") {
				a.access.inject(nil)
				<-hang
			}
			return nil
		})
		if a.put("a1", "old") == nil {
			t.Error("the Put that hung returned no error")
		}
		if a.put("a1", "new") == nil {
			t.Error("the Put behind it returned no error")
		}
		a.mustPut("a2", "another") // is not held up
		close(hang)
		bubble.Elapse(3 * time.Second)
		wantStored(t, a.access.disk, "a0=other", "a1=new", "a2=another")
		a.wantRecords("a0=other", "a1=new", "a2=another")
		if i := slices.IndexFunc(a.logs.All(), func(e observer.LoggedEntry) bool { return e.Level == zapcore.InfoLevel }); i < 0 {
			t.Errorf("no word that it works again: %v", a.logs.All())
		}
	})
}
