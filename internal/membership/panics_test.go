package membership

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

// panicky is a log that cannot be written to.
type panicky struct{ zapcore.Core }

// Enabled implements zapcore.Core.
func (panicky) Enabled(zapcore.Level) bool { return true }

// Check implements zapcore.Core.
func (p panicky) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return checked.AddCore(entry, p)
}

// Write implements zapcore.Core.
func (panicky) Write(zapcore.Entry, []zapcore.Field) error { panic("the log panicked") }

func TestMemberSurvivesAPanicAboutAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := memory.New(time.Now)
		n := newNode(t, f, "a", admission.Caps{PerUser: 2}, func(c *Config) { c.Logger = zap.New(panicky{zapcore.NewNopCore()}) })
		start(n)
		f.Fail(errDown)
		n.Beat()
		bubble.Elapse(10 * time.Second)
		if seat, _ := n.try(alice, "alice"); seat == nil || !n.Out() {
			t.Errorf("in the outage, which there is: %t, nobody is let in", n.Out())
		}
		f.Fail(nil)
		bubble.Elapse(10 * time.Second)
		if !n.View().Connected {
			t.Error("it has not come back")
		}
		stop(n)
	})
}
