package token

import (
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

func TestPanicWhileKeysAreFetchedIsAFailedFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &keyServer{answer: func(*http.Request) (*http.Response, error) { panic("secret") }}
		counted := countPanics(t)
		source := startSource(t, s)
		synctest.Wait()
		if _, err := source.keys(t.Context()); err == nil {
			t.Error("there are keys")
		}
		s.set(serve(t, "ES256"))
		bubble.Elapse(jwksMinRetry)
		synctest.Wait()
		if keys, err := source.keys(t.Context()); err != nil || len(keys) != 1 {
			t.Errorf("%d keys and %v after the next fetch", len(keys), err)
		}
		if got := counted.Load(); got != 1 {
			t.Errorf("%d panics were counted, want 1", got)
		}
		bubble.Elapse(jwksTimeout) // net/http's timer of the call that panicked
	})
}

func TestPanicWhileIntrospectingIsAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &keyServer{answer: func(*http.Request) (*http.Response, error) { panic("secret") }}
		i := mustIntrospector(t, s, time.Minute)
		i.logger = zap.New(panickyCore{zapcore.NewNopCore()})
		counted := countPanics(t)
		if _, err := i.verify(t.Context(), "token", time.Now()); err == nil || err.Error() != ErrUnavailable.Error() {
			t.Errorf("%v, want %v", err, ErrUnavailable)
		}
		s.set(sayJSON(`{"active":true,"sub":"alice"}`))
		if g, err := i.verify(t.Context(), "token", time.Now()); err != nil || g.UserID != "alice" {
			t.Errorf("%v after the outage", err)
		}
		synctest.Wait()
		if got := counted.Load(); got != 2 {
			t.Errorf("%d panics were counted, want 2: that of the call, and that of the log", got)
		}
		bubble.Elapse(time.Second) // net/http's timer of the call that panicked
	})
}

// countPanics counts the panics that are reported. Tests that look at it are not
// parallel.
func countPanics(t *testing.T) *atomic.Int64 {
	t.Helper()
	counted := new(atomic.Int64)
	panics.Handle(func(*panics.Panic) { counted.Add(1) })
	t.Cleanup(func() { panics.Handle(func(*panics.Panic) {}) })
	return counted
}

// panickyCore is a log that panics when there is something to warn of.
type panickyCore struct{ zapcore.Core }

func (panickyCore) Enabled(level zapcore.Level) bool { return level == zapcore.WarnLevel }

func (c panickyCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return checked.AddCore(entry, c)
}

func (panickyCore) Write(zapcore.Entry, []zapcore.Field) error { panic("secret") }
