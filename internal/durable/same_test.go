package durable

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

func TestReloadBackToAStorageUsedBeforeLosesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, second := newDisk(), newDisk()
		a, other := newProcess(t, first), newProcess(t, first)
		defer other.release()
		a.mustPut("a1", "before")
		bubble.Elapse(3 * time.Second)
		a.reload(second)
		a.mustPut("a2", "between")
		other.mustPut("a3", "theirs")
		bubble.Elapse(3 * time.Second)
		a.reload(first)
		a.wantRecords("a1=before", "a2=between", "a3=theirs")
		bubble.Elapse(10 * time.Minute)
		a.wantRecords("a1=before", "a2=between", "a3=theirs")
		wantStored(t, first, "a1=before", "a2=between", "a3=theirs")
		a.release()
	})
}

func TestReloadToACopyOfTheStorageLosesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, second := newDisk(), newDisk()
		a, other := newProcess(t, first), newProcess(t, first)
		defer other.release()
		a.mustPut("a1", "before")
		bubble.Elapse(3 * time.Second)
		for _, key := range first.keys(root) {
			second.set(key, string(first.get(key)))
		}
		other.mustPut("a2", "of others, after the copy")
		bubble.Elapse(3 * time.Second)
		a.reload(second)
		bubble.Elapse(10 * time.Minute)
		a.wantRecords("a1=before", "a2=of others, after the copy")
		wantStored(t, second, "a1=before", "a2=of others, after the copy")
		a.release()
	})
}
