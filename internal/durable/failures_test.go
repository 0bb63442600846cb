package durable

import (
	"context"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

func TestPutThatFailsIsWrittenWhenTheStorageWorksAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		a, b := newProcess(t, d), newProcess(t, d)
		defer a.release()
		defer b.release()
		a.mustPut("a1", "old")
		bubble.Elapse(3 * time.Second)
		a.access.inject(failing("store"))
		for _, id := range []string{"a1", "a2", "a3"} {
			if a.put(id, "new") == nil {
				t.Errorf("Put of %s returned no error", id)
			}
		}
		b.mustPut("a1", "of b") // before a's can be written
		bubble.Elapse(10 * time.Minute)
		a.wantRecords("a1=new", "a2=new", "a3=new")
		a.mustDelete("a3")
		a.access.inject(nil)
		bubble.Elapse(10 * time.Second)
		wantStored(t, d, "a1=new", "a2=new")
		b.wantRecords("a1=new", "a2=new")
		errors := a.logs.FilterLevelExact(zapcore.ErrorLevel).Len()
		infos := a.logs.FilterMessageSnippet("everything that is in force").Len()
		if errors != 1 || infos != 1 {
			t.Errorf("the log has %v", a.logs.All())
		}
	})
}

func TestPollThatFailsIsSaidOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		a, b := newProcess(t, d), newProcess(t, d)
		defer a.release()
		defer b.release()
		b.mustPut("a1", "first")
		b.access.inject(failing("list", "load"))
		a.access.inject(failing("list", "load"))
		bubble.Elapse(time.Minute)
		b.mustPut("a2", "second")
		bubble.Elapse(time.Minute)
		a.wantRecords()
		a.access.inject(nil)
		bubble.Elapse(3 * time.Second)
		a.wantRecords("a1=first", "a2=second")
		a.wantLogs(zapcore.WarnLevel, zapcore.InfoLevel)
	})
}

func TestPanicOfAStorageIsAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newProcess(t, newDisk())
		defer a.release()
		a.access.inject(func(context.Context, string, string) error { panic("a storage of the test") })
		if a.put("a1", "first") == nil {
			t.Error("Put returned no error")
		}
		bubble.Elapse(time.Minute)
		a.access.inject(nil)
		bubble.Elapse(time.Minute)
		wantStored(t, a.access.disk, "a1=first")
	})
}

func TestFileThatVanishesWhileListedForgetsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		a := newProcess(t, d)
		defer a.release()
		a.mustPut("a1", "first")
		for _, missing := range []error{
			&fs.PathError{Op: "lstat", Path: "/" + keyOf("a2"), Err: fs.ErrNotExist},
			&fs.PathError{Op: "lstat", Path: "/ws_gateway/revocations/a", Err: fs.ErrNotExist},
			fs.ErrNotExist,
		} {
			a.access.inject(func(_ context.Context, operation, key string) error {
				if operation == "list" && strings.HasPrefix(key, "ws_gateway/revocations/a") {
					return missing
				}
				return nil
			})
			bubble.Elapse(10 * time.Minute)
			a.wantRecords("a1=first")
		}
	})
}

func TestFileThatVanishedOnceIsNoFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		d.set(keyOf("a1"), record(t, `"first"`))
		a := idleProcess(t, d)
		var tries atomic.Int32
		a.access.inject(func(_ context.Context, operation, key string) error {
			if operation == "list" && key == "ws_gateway/revocations/a" && tries.Add(1) < 3 {
				return &fs.PathError{Op: "lstat", Path: "/" + key + "/1234", Err: fs.ErrNotExist}
			}
			return nil
		})
		a.attach()
		defer a.release()
		a.wantRecords("a1=first")
		a.wantLogs()
	})
}

func TestUnfinishedFilesDoNotCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		d.set("ws_gateway/revocations/a/12345", "{")
		d.set("ws_gateway/nodes/12345", "{")
		a := newProcess(t, d)
		defer a.release()
		bubble.Elapse(10 * time.Minute)
		a.wantRecords()
		a.wantLogs()
		if keys := d.keys("ws_gateway"); len(keys) != 2 {
			t.Errorf("stored are %q", keys)
		}
	})
}

// TestKilledProcessLosesNothingThatWasPut kills a process at each of its operations,
// before and after it is done.
func TestKilledProcessLosesNothingThatWasPut(t *testing.T) {
	t.Parallel()
	for operations := 0; ; operations++ {
		done := false
		for _, afterwards := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) { done = killAfter(t, operations, afterwards) })
		}
		if done {
			if operations < 5 {
				t.Errorf("the process made %d operations only", operations)
			}
			return
		}
	}
}

// killAfter reports whether the process got to its end.
func killAfter(t *testing.T, operations int, afterwards bool) (done bool) {
	t.Helper()
	d := newDisk()
	witness := newProcess(t, d)
	defer witness.release()
	witness.mustPut("a1", "old")
	a := idleProcess(t, d)
	var mu sync.Mutex
	left, dead := operations, make(chan struct{})
	count := func(context.Context, string, string) error {
		mu.Lock()
		left--
		over := left < 0
		mu.Unlock()
		if over {
			<-dead
			return errInjected
		}
		return nil
	}
	if afterwards {
		a.access.after = count
	} else {
		a.access.before = count
	}
	a.access.hooks("") // nothing is shared yet
	want := map[string]string{"a1": "old"}
	a.attach()
	for _, id := range []string{"a1", "a2", "a3"} {
		if err := a.put(id, "new"); err != nil {
			break
		}
		want[id] = "new"
		bubble.Elapse(time.Second)
	}
	done = len(want) == 3 && want["a1"] == "new"
	// The process is gone for the others; what hangs never comes back.
	bubble.Elapse(25 * time.Minute)
	have := witness.shelf.copy()
	fresh := newProcess(t, d)
	for id, data := range want {
		stored := fresh.shelf.copy()[id]
		if stored != quoted(data) && stored != quoted("new") {
			t.Errorf("after %d operations: %s is %s, want %q", operations, id, stored, data)
		}
		if have[id] != stored {
			t.Errorf("after %d operations: the witness has %s as %s and the storage as %s", operations, id, have[id], stored)
		}
	}
	fresh.release()
	close(dead)
	a.release()
	return done
}
