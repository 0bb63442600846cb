package durable

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

func TestProcessesSeeEachOthersChangesWithinThreeSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		a, b := newProcess(t, d), newProcess(t, d)
		defer a.release()
		defer b.release()
		a.mustPut("a1", "first")
		b.mustPut("b1", "other")
		bubble.Elapse(3 * time.Second)
		a.wantRecords("a1=first", "b1=other")
		b.wantRecords("a1=first", "b1=other")

		b.mustPut("a1", "changed")
		bubble.Elapse(3 * time.Second)
		a.wantRecords("a1=changed", "b1=other")

		a.mustDelete("b1")
		a.wantRecords("a1=changed")
		bubble.Elapse(3 * time.Second)
		b.wantRecords("a1=changed")
		wantStored(t, d, "a1=changed")
		a.wantLogs()
		b.wantLogs()
	})
}

func TestRecordsOutliveTheProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		a := newProcess(t, d)
		a.mustPut("a1", "first")
		a.mustPut("zz", "second")
		a.mustPut("a2", "third")
		a.mustDelete("a2")
		a.release()
		b := newProcess(t, d)
		defer b.release()
		b.wantRecords("a1=first", "zz=second")
		if key := "ws_gateway/revocations/z/zz.json"; d.get(key) == nil {
			t.Errorf("%s is not there: %q", key, d.keys("ws_gateway"))
		}
	})
}

func TestProcessThatChangesNothingWritesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		for id, data := range map[string]string{"a1": `"good"`, "a2": `"lapsed"`, "a3": `"bad"`} {
			d.set(keyOf(id), record(t, data))
		}
		d.set(keyOf("a4"), "{")
		d.set("ws_gateway/nodes/dead.json", record(t, `{"at":"1999-01-01T00:00:00Z","seq":0}`))
		a := newProcess(t, d)
		bubble.Elapse(settling - time.Second)
		a.wantRecords("a1=good")
		a.release()
		if writes := a.access.counted("store") + a.access.counted("delete"); writes != 0 {
			t.Errorf("it wrote %d times", writes)
		}
	})
}

func TestManyPutsCostOneWriteEach(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newProcess(t, newDisk())
		defer a.release()
		a.mustPut("a0", "first")
		bubble.Elapse(time.Minute)
		before := a.access.counted("store")
		for _, id := range ids(1000) {
			a.mustPut(id, "more")
		}
		if writes := a.access.counted("store") - before; writes > 1010 { // a few of them the journal
			t.Errorf("1000 records took %d writes", writes)
		}
		bubble.Elapse(time.Minute)
		if writes := a.access.counted("store") - before; writes > 1010 {
			t.Errorf("with the journal that were %d writes", writes)
		}
	})
}

func TestPutRefusesWhatCannotBeARecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newProcess(t, newDisk())
		defer a.release()
		tests := map[string]struct{ shelf, id, data string }{
			"no shelf":     {"others", "a1", `"good"`},
			"no id":        {"revocations", "", `"good"`},
			"a path":       {"revocations", "../a", `"good"`},
			"upper case":   {"revocations", "A1", `"good"`},
			"long id":      {"revocations", strings.Repeat("a", 201), `"good"`},
			"no JSON":      {"revocations", "a1", `good`},
			"not a record": {"revocations", "a1", `"bad"`},
			"panic":        {"revocations", "a1", `"panic"`},
		}
		for name, tt := range tests {
			if err := a.book.Put(t.Context(), tt.shelf, tt.id, []byte(tt.data)); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		bubble.Elapse(time.Minute)
		wantStored(t, a.access.disk)
	})
}

func TestNothingIsWrittenWhileNothingIsAttached(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		a := idleProcess(t, d)
		if err := a.put("a1", "early"); !errors.Is(err, ErrNoStorage) {
			t.Errorf("Put returned %v", err)
		}
		if err := a.book.Delete(t.Context(), "revocations", "a1"); !errors.Is(err, ErrNoStorage) {
			t.Errorf("Delete returned %v", err)
		}
		wantStored(t, d)
		a.attach()
		bubble.Elapse(3 * time.Second)
		wantStored(t, d, "a1=early")
		a.release()
		if err := a.put("a1", "late"); !errors.Is(err, ErrNoStorage) {
			t.Errorf("Put returned %v", err)
		}
		a.wantRecords("a1=late")
	})
}

func TestDeleteThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newProcess(t, newDisk())
		defer a.release()
		a.mustPut("a1", "first")
		a.access.inject(failing("delete"))
		if err := a.book.Delete(t.Context(), "revocations", "a1"); !errors.Is(err, errInjected) {
			t.Errorf("Delete returned %v", err)
		}
		a.access.inject(nil)
		bubble.Elapse(10 * time.Minute)
		a.wantRecords("a1=first")
		wantStored(t, a.access.disk, "a1=first")
	})
}
