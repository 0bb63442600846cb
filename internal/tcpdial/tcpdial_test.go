package tcpdial

import (
	"context"
	"testing"
	"testing/synctest"
)

func TestStopWaitsForWhatHasBegun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		goOn := make(chan struct{})
		stop := WhenDone(ctx, func() { <-goOn })
		cancel()
		synctest.Wait()
		inTime := make(chan bool, 1)
		go func() { inTime <- stop() }()
		synctest.Wait()
		select {
		case <-inTime:
			t.Error("it did not wait")
			inTime <- false
		default:
		}
		close(goOn)
		if <-inTime {
			t.Error("it says that it prevented what has happened")
		}
	})
}

func TestStopPreventsWhatHasNotBegun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		stop := WhenDone(ctx, func() { t.Error("it happened") })
		if !stop() {
			t.Error("it says that it has happened")
		}
		cancel()
		synctest.Wait()
	})
}

func TestPanicOfWhatHappensIsContained(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		stop := WhenDone(ctx, func() { panic("a conn of somebody else's") })
		cancel()
		synctest.Wait()
		if stop() {
			t.Error("it says that it prevented what has happened")
		}
	})
}
