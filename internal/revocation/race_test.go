package revocation

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// TestListIsForManyAtOnce, of whom each finds what it has just put in force itself.
func TestListIsForManyAtOnce(t *testing.T) {
	t.Parallel()
	l := NewList()
	lasting := ofUser("lasting", time.Now())
	if _, err := l.Add(lasting); err != nil {
		t.Fatal(err)
	}
	var workers, watchers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		watchers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				l.Lapse(time.Now())
				found := false
				for _, r := range l.Page("", 1<<20, func(*Revocation) bool { return true }) {
					found = found || r.ID == lasting.ID
				}
				if !found || l.Find(Credential{User: "lasting"}) == nil {
					t.Error("the one that lasts is not found meanwhile")
					return
				}
			}
		})
	}
	for worker := range 4 {
		workers.Go(func() {
			for i := range 500 {
				r := ofToken(fmt.Sprint(worker, " ", i))
				shared := ofUser("shared", time.Unix(int64(i%7), 0))
				if _, err := l.Add(r); err != nil || l.Find(Credential{JTI: r.JTI}) == nil || l.Get(r.ID) == nil {
					t.Errorf("%s: %v, or it is not found", r.JTI, err)
				}
				l.Learn(shared)
				l.Find(Credential{User: "shared"})
				if i%2 == 0 {
					l.Remove(shared.ID)
				}
				if l.Remove(r.ID); l.Find(Credential{JTI: r.JTI}) != nil {
					t.Errorf("%s is found after it was removed", r.JTI)
				}
			}
		})
	}
	workers.Wait()
	close(stop)
	watchers.Wait()
	for r := range l.All() {
		l.Remove(r.ID)
	}
	if n := l.size.Load(); n != 0 || len(l.byJTI) != 0 || len(l.byUser) != 0 {
		t.Errorf("%d are left, of %d tokens and %d users", n, len(l.byJTI), len(l.byUser))
	}
}
