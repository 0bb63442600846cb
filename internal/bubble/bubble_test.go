package bubble

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestElapseTakesNoTimeInABubble(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	synctest.Test(t, func(t *testing.T) {
		inside := time.Now()
		Elapse(time.Hour)
		if passed := time.Since(inside); passed != time.Hour {
			t.Errorf("%v passed in the bubble, want an hour", passed)
		}
	})
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("it took %v", took)
	}
}

func TestElapseIsRefusedOutsideOfABubble(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	Elapse(time.Nanosecond)
}
