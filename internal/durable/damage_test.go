package durable

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

func TestDamagedRecordsAreSetAside(t *testing.T) {
	t.Parallel()
	good := record(t, `"good"`)
	tests := map[string]struct{ key, value string }{
		"no JSON":            {keyOf("a1"), "{"},
		"empty":              {keyOf("a1"), ""},
		"another sum":        {keyOf("a1"), strings.Replace(good, "good", "gold", 1)},
		"no record":          {keyOf("a1"), `{"version":1}`},
		"no version":         {keyOf("a1"), strings.Replace(good, "version", "revision", 1)},
		"refused by a shelf": {keyOf("a1"), record(t, `"bad"`)},
		"an id of nobody":    {"ws_gateway/revocations/a/a_1.json", good},
		"the wrong shard":    {"ws_gateway/revocations/a/b1.json", good},
		"too deep":           {"ws_gateway/revocations/a/a/a1.json", good},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDisk()
				d.set(keyOf("a2"), record(t, `"sound"`))
				d.set(tt.key, tt.value)
				a := newProcess(t, d)
				defer a.release()
				a.wantRecords("a2=sound")
				bubble.Elapse(20 * time.Minute)
				a.wantRecords("a2=sound")
				wantStored(t, d, "a2=sound")
				aside := d.keys("ws_gateway/damaged")
				if len(aside) != 1 || string(d.get(aside[0])) != tt.value || !strings.HasPrefix(aside[0], "ws_gateway/damaged/revocations-") {
					t.Errorf("set aside are %q", aside)
				}
				a.wantLogs(zapcore.ErrorLevel)
			})
		})
	}
}

func TestManyDamagedRecordsAreOneLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		for _, id := range ids(100) {
			d.set(keyOf(id), "{")
		}
		a := newProcess(t, d)
		defer a.release()
		bubble.Elapse(time.Minute)
		a.wantLogs(zapcore.ErrorLevel)
		fields := a.logs.All()[0].ContextMap()
		if keys := fields["keys"].([]any); fields["count"] != int64(100) || len(keys) != 5 {
			t.Errorf("the line has %v", fields)
		}
	})
}

func TestDamageThatCannotBeSetAsideIsSaidOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		d.set(keyOf("a1"), "{")
		d.set(keyOf("a3"), record(t, `"lapsed"`))
		d.set("ws_gateway/nodes/dead.json", record(t, `{"at":"1999-01-01T00:00:00Z","seq":0}`))
		d.set("ws_gateway/nodes/torn.json", "{")
		a := newProcess(t, d)
		defer a.release()
		a.access.inject(failing("store", "delete"))
		bubble.Elapse(time.Hour)
		if n := a.logs.FilterMessageSnippet("damaged").Len(); n != 2 || a.logs.Len() != 2 {
			t.Errorf("the log has %v", a.logs.All())
		}
		if lists := a.access.counted("list"); lists > 36*20+1800 {
			t.Errorf("%d lists in an hour", lists)
		}
		a.access.inject(nil)
		bubble.Elapse(20 * time.Minute)
		wantStored(t, d)
		if left := d.keys("ws_gateway/nodes"); len(left) != 0 {
			t.Errorf("journals are left: %q", left)
		}
	})
}

func TestDamageOfWhatIsSoundInMemoryIsMended(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		a, b := newProcess(t, d), newProcess(t, d)
		defer a.release()
		defer b.release()
		a.mustPut("a1", "first")
		bubble.Elapse(time.Minute)
		d.set(keyOf("a1"), "{")
		a.book.lastVault().want()
		bubble.Elapse(10 * time.Minute)
		wantStored(t, d, "a1=first")
		a.wantRecords("a1=first")
		b.wantRecords("a1=first")
	})
}

func TestWriteThatIsReadInItsMiddleIsNoDamage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		a, b := newProcess(t, d), newProcess(t, d)
		defer a.release()
		defer b.release()
		bubble.Elapse(time.Minute)
		whole := record(t, `"first"`)
		var tears atomic.Int32
		b.access.inject(func(_ context.Context, operation, key string) error {
			if operation == "load" && key == keyOf("a1") {
				d.set(key, whole[:20])
				if tears.Add(1) > 1 {
					d.set(key, whole)
				}
			}
			return nil
		})
		a.mustPut("a1", "first")
		bubble.Elapse(3 * time.Second)
		b.wantRecords("a1=first")
		b.wantLogs()
		if tears.Load() != 2 {
			t.Errorf("it was loaded %d times", tears.Load())
		}
	})
}

func TestLaterVersionsAreLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		later := map[string]string{
			keyOf("a1"):                         `{"version":2,"sum":7,"anything":[]}`,
			keyOf("a2"):                         `{"version":3}`,
			"ws_gateway/revocations/a/a_3.json": `{"version":2}`,
			"ws_gateway/nodes/a.json":           `{"version":2}`,
		}
		for key, value := range later {
			d.set(key, value)
		}
		a := newProcess(t, d)
		defer a.release()
		bubble.Elapse(time.Hour)
		a.wantRecords()
		a.wantLogs(zapcore.WarnLevel)
		for key, value := range later {
			if string(d.get(key)) != value {
				t.Errorf("%s is %q", key, d.get(key))
			}
		}
	})
}

func TestShelfThatPanicsLosesNoRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		d.set(keyOf("a1"), record(t, `"panic"`))
		a := newProcess(t, d)
		defer a.release()
		bubble.Elapse(time.Hour)
		wantStored(t, d, "a1=panic")
	})
}

func TestLapsedRecordsAreDeleted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		d.set(keyOf("a0"), record(t, `"lapsed"`))
		a, b := newProcess(t, d), newProcess(t, d)
		defer a.release()
		defer b.release()
		for _, id := range []string{"a1", "a2", "a3"} {
			a.mustPut(id, "first")
		}
		bubble.Elapse(time.Minute)
		d.set(keyOf("a1"), record(t, `"lapsed"`))
		d.set(keyOf("a2"), record(t, `"prolonged"`)) // and nobody has heard of it
		a.shelf.lapse("a1", "a2")
		b.shelf.lapse("a1")
		bubble.Elapse(11 * time.Second)
		wantStored(t, d, "a2=prolonged", "a3=first")
		a.wantRecords("a2=prolonged", "a3=first")
		bubble.Elapse(10 * time.Minute)
		if got := fmt.Sprint(len(b.shelf.copy())); got != "2" {
			t.Errorf("b has %v", b.shelf.copy())
		}
	})
}

func TestLapsedRecordThatCannotBeReadIsDeletedLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDisk()
		a := newProcess(t, d)
		defer a.release()
		a.mustPut("a1", "first")
		bubble.Elapse(time.Minute)
		d.set(keyOf("a1"), record(t, `"lapsed"`))
		a.access.inject(failing("load"))
		a.shelf.lapse("a1")
		bubble.Elapse(20 * time.Second)
		a.access.inject(nil)
		bubble.Elapse(10 * time.Minute)
		wantStored(t, d)
	})
}
