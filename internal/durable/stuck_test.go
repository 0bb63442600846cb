package durable

import (
	"context"
	"io/fs"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

func TestKeyWhoseWriteHangsForeverHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		a, b := newProcess(t, d), newProcess(t, d)
		b.mustPut("a0", "first")
		forever := make(chan struct{})
		a.access.inject(func(_ context.Context, operation, key string) error {
			if operation == "store" && key == keyOf("a1") {
				<-forever
			}
			return nil
		})
		if a.put("a1", "ours") == nil {
			t.Error("Put returned no error")
		}
		b.mustPut("a1", "theirs")
		b.mustPut("a2", "theirs")
		bubble.Elapse(time.Minute)
		b.mustPut("a3", "theirs")
		bubble.Elapse(time.Minute)
		a.wantRecords("a0=first", "a1=ours", "a2=theirs", "a3=theirs")
		close(forever)
		a.release()
		b.release()
	})
}

func TestWhatCannotBeReadStopsNothing(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"a directory": syscall.EISDIR, "of somebody else": syscall.EACCES} {
		for _, key := range []string{keyOf("a1"), "ws_gateway/nodes/a1.json"} {
			t.Run(name+" as "+key, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { checkUnreadable(t, key, err) })
			})
		}
	}
}

func checkUnreadable(t *testing.T, unreadable string, err error) {
	d := newDisk()
	d.set(unreadable, "what cannot be read")
	d.set(keyOf("a2"), record(t, `"sound"`))
	a, b := idleProcess(t, d), idleProcess(t, d)
	for _, p := range []*process{a, b} {
		p.access.inject(func(_ context.Context, operation, key string) error {
			if operation == "load" && key == unreadable {
				return &fs.PathError{Op: "read", Path: key, Err: err}
			}
			return nil
		})
	}
	b.attach()
	defer b.release()
	began := time.Now()
	a.attach()
	defer a.release()
	if took := time.Since(began); took > torn {
		t.Errorf("the attachment took %s", took)
	}
	a.wantRecords("a2=sound")
	b.mustPut("a3", "new")
	bubble.Elapse(3 * time.Second)
	a.wantRecords("a2=sound", "a3=new")
	bubble.Elapse(10 * time.Minute)
	if n := a.logs.Len(); n != 1 {
		t.Errorf("the log has %d lines: %v", n, a.logs.All())
	}
	if loads := a.access.counted("load"); loads > 1000 {
		t.Errorf("%d loads", loads)
	}
}

func TestChangeGoesOnWhereItsCallerHasGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		a := newProcess(t, d)
		defer a.release()
		a.mustPut("a1", "first")
		a.access.inject(func(ctx context.Context, _, _ string) error {
			pause(ctx, time.Second)
			return ctx.Err()
		})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := a.book.Put(ctx, "revocations", "a2", []byte(`"second"`)); err != nil {
			t.Error(err)
		}
		if err := a.book.Delete(ctx, "revocations", "a1"); err != nil {
			t.Error(err)
		}
		a.wantRecords("a2=second")
		wantStored(t, d, "a2=second")
	})
}
