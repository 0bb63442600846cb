package wsgateway

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestPanicWhileKeysAreFetchedIsAFailedFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &keyServer{answer: func(*http.Request) (*http.Response, error) { panic("secret") }}
		before := panicsCounted(t)
		source := startSource(t, s)
		synctest.Wait()
		if _, err := source.keys(t.Context()); err == nil {
			t.Error("there are keys")
		}
		s.set(serve(t, "ES256"))
		elapse(jwksMinRetry)
		synctest.Wait()
		if keys, err := source.keys(t.Context()); err != nil || len(keys) != 1 {
			t.Errorf("%d keys and %v after the next fetch", len(keys), err)
		}
		if got := panicsCounted(t) - before; got != 1 {
			t.Errorf("%v panics were counted, want 1", got)
		}
		elapse(jwksTimeout) // net/http's timer of the call that panicked
	})
}

func TestPanicWhileIntrospectingIsAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &keyServer{answer: func(*http.Request) (*http.Response, error) { panic("secret") }}
		i := mustIntrospector(t, s, time.Minute)
		i.logger, _ = panicLog("the introspection service does not answer as it should")
		before := panicsCounted(t)
		if _, err := i.verify(t.Context(), "token", time.Now()); err == nil || err.Error() != errUnavailable.Error() {
			t.Errorf("%v, want %v", err, errUnavailable)
		}
		s.set(sayJSON(`{"active":true,"sub":"alice"}`))
		if g, err := i.verify(t.Context(), "token", time.Now()); err != nil || g.userID != "alice" {
			t.Errorf("%v after the outage", err)
		}
		synctest.Wait()
		if got := panicsCounted(t) - before; got != 2 {
			t.Errorf("%v panics were counted, want 2: that of the call, and that of the log", got)
		}
		elapse(time.Second) // net/http's timer of the call that panicked
	})
}
