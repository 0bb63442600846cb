package durable

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

func TestMoreChangesThanAJournalHasAreFoundAllTheSame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		a, b := newProcess(t, d), newProcess(t, d)
		defer a.release()
		defer b.release()
		a.mustPut("a1", "old")
		a.mustPut("a2", "old")
		bubble.Elapse(3 * time.Second)
		a.mustPut("a1", "new")
		a.mustDelete("a2")
		for _, id := range ids(ringSize + 1) {
			a.mustPut(id, "more")
		}
		bubble.Elapse(3 * time.Second)
		have := b.shelf.copy()
		if have["a1"] != `"new"` || have["a2"] != "" || len(have) != ringSize+2 {
			t.Errorf("there are %d, a1 is %s and a2 is %s", len(have), have["a1"], have["a2"])
		}
	})
}

func TestIdleProcessesReadLittle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		a, b := newProcess(t, d), newProcess(t, d)
		defer a.release()
		defer b.release()
		for _, id := range ids(1000) {
			a.mustPut(id, "first")
		}
		bubble.Elapse(15 * time.Minute)
		if size := len(d.get(journalKey(a.book.id))); size > 200 {
			t.Errorf("the journal has %d bytes after 15 minutes", size)
		}
		loads := b.access.counted("load")
		bubble.Elapse(10 * time.Minute)
		if more := b.access.counted("load") - loads; more > 301 {
			t.Errorf("%d loads in ten minutes", more)
		}
	})
}

func TestJournalsOfTheDeadAreDeletedAndThoseOfTheLivingAreNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		a, b := newProcess(t, d), newProcess(t, d)
		defer a.release()
		a.mustPut("a1", "first")
		b.mustPut("a2", "second")
		bubble.Elapse(time.Hour)
		if journals := d.keys("ws_gateway/nodes"); len(journals) != 2 {
			t.Errorf("there are %q", journals)
		}
		b.release()
		bubble.Elapse(20 * time.Minute)
		if journals := d.keys("ws_gateway/nodes"); len(journals) != 1 || journals[0] != journalKey(a.book.id) {
			t.Errorf("there are %q", journals)
		}
	})
}

func TestClockThatIsWrongKeepsItsJournal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		a := newProcess(t, d)
		defer a.release()
		for n := range 20 {
			bubble.Elapse(heartbeat)
			if n > 0 && d.get("ws_gateway/nodes/slow.json") == nil {
				t.Fatal("it was deleted")
			}
			at := time.Now().Add(-time.Hour).Format(time.RFC3339Nano)
			d.set("ws_gateway/nodes/slow.json", record(t, fmt.Sprintf(`{"at":%q,"seq":%d,"changes":[]}`, at, n)))
		}
	})
}

func TestChangeOfAProcessThatDiedBeforeItsJournalIsFound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		a, b := newProcess(t, d), newProcess(t, d)
		defer a.release()
		b.mustPut("b1", "other")
		a.mustPut("a1", "old")
		bubble.Elapse(10 * time.Second)
		dead := make(chan struct{})
		b.access.inject(func(_ context.Context, operation, key string) error {
			if operation == "store" && key == journalKey(b.book.id) {
				<-dead
			}
			return nil
		})
		b.mustPut("a1", "new")
		bubble.Elapse(3 * time.Second)
		a.wantRecords("a1=old", "b1=other")
		bubble.Elapse(15 * time.Minute)
		a.wantRecords("a1=new", "b1=other")
		close(dead)

		b.access.inject(nil)
		b.mustPut("a1", "newer")
		bubble.Elapse(10 * time.Second)
		again := make(chan struct{})
		b.access.inject(func(_ context.Context, operation, key string) error {
			if operation == "store" && key == journalKey(b.book.id) {
				<-again
			}
			return nil
		})
		b.mustPut("a1", "newest")
		d.unset(journalKey(b.book.id)) // as another process does, which has found it old
		bubble.Elapse(3 * time.Second)
		a.wantRecords("a1=newest", "b1=other")
		close(again)
		b.release()
	})
}

func TestChangeIsSeenAlsoWhereItsProcessIsKilledAfterTheAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		a, b := newProcess(t, d), newProcess(t, d)
		defer a.release()
		defer b.release()
		b.mustPut("a1", "deleted later")
		bubble.Elapse(3 * time.Second)
		for n, change := range []func(){func() { b.mustPut("a2", "new") }, func() { b.mustDelete("a1") }} {
			b.access.inject(nil)
			change()
			b.access.inject(failing("store", "load", "list", "delete")) // it is dead
			bubble.Elapse(3 * time.Second)
			a.wantRecords([][]string{{"a1=deleted later", "a2=new"}, {"a2=new"}}[n]...)
		}
	})
}

func TestChangesAtATimeShareAJournal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newProcess(t, newDisk())
		defer a.release()
		a.mustPut("a0", "first")
		a.access.inject(func(ctx context.Context, operation, _ string) error {
			if operation == "store" {
				pause(ctx, 10*time.Millisecond)
			}
			return nil
		})
		before := a.access.counted("store")
		var group sync.WaitGroup
		for _, id := range ids(50) {
			group.Go(func() { a.mustPut(id, "more") })
		}
		group.Wait()
		if writes := a.access.counted("store") - before; writes > 50+10 {
			t.Errorf("50 records took %d writes", writes)
		}
	})
}

func TestProcessThatCouldNotPollForLongLoadsEverything(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		a, b := newProcess(t, d), newProcess(t, d)
		defer a.release()
		a.mustPut("a1", "old")
		bubble.Elapse(10 * time.Second)
		a.access.inject(failing("list", "load"))
		b.mustPut("a1", "new")
		b.release()
		bubble.Elapse(time.Hour)
		d.unset(journalKey(b.book.id)) // as another process would
		a.access.inject(nil)
		bubble.Elapse(2 * time.Minute)
		a.wantRecords("a1=new")
	})
}

func TestJournalSaysWhatIsSinceOrThatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	j := journal{Seq: 5, Changes: []ref{{"s", "3"}, {"s", "4"}, {"s", "5"}}}
	for seq, want := range map[uint64]int{2: 3, 3: 2, 5: 0, 1: -1, 0: -1, 6: -1} {
		changes, all := j.since(seq)
		if !all {
			changes = nil
		}
		if all != (want >= 0) || len(changes) != max(0, want) || want > 0 && changes[0].ID != fmt.Sprint(seq+1) {
			t.Errorf("since %d: %v, %v", seq, changes, all)
		}
	}
}

func FuzzOpen(f *testing.F) {
	for _, seed := range []string{`"good"`, `{"at":"2026-01-01T00:00:00Z","seq":1,"changes":[{"shelf":"s","id":"a"}]}`} {
		sealed, _, _ := seal([]byte(seed))
		f.Add(sealed, uint64(0))
	}
	f.Add([]byte(`{"version":2}`), uint64(1))
	f.Fuzz(func(t *testing.T, sealed []byte, seq uint64) {
		if data, err := open(sealed); err == nil {
			again, same, err := seal(data)
			if err != nil || string(same) != string(data) {
				t.Fatalf("%q is opened and cannot be sealed as it is: %v", data, err)
			}
			if once, err := open(again); err != nil || string(once) != string(data) {
				t.Fatalf("%q becomes %q: %v", data, once, err)
			}
		}
		if j, err := openJournal(sealed); err == nil {
			if changes, all := j.since(seq); all && uint64(len(changes)) != j.Seq-seq {
				t.Fatalf("%d of %d changes since %d", len(changes), j.Seq, seq)
			}
		}
		if data, same, err := seal(sealed); err == nil {
			if once, err := open(data); err != nil || string(once) != string(same) {
				t.Fatalf("%q becomes %q: %v", sealed, once, err)
			}
		}
	})
}
