package token

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

func mustIntrospector(t *testing.T, s *keyServer, cache time.Duration) *introspector {
	t.Helper()
	i, err := testOptions().newIntrospector(&Introspection{Cache: &cache, URL: "https://user:hush-hush@auth.example/introspect"})
	if err != nil {
		t.Fatal(err)
	}
	i.client = &http.Client{Transport: s, Timeout: time.Second}
	return i
}

func sayJSON(format string, args ...any) func(*http.Request) (*http.Response, error) {
	text := fmt.Sprintf(format, args...)
	return func(r *http.Request) (*http.Response, error) { return respond(200, strings.NewReader(text))(r) }
}

func TestIntrospectionAsksOnceForManyAndForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &keyServer{answer: slow(500*time.Millisecond, sayJSON(`{"active":true,"sub":"alice"}`))}
		i := mustIntrospector(t, s, time.Minute)
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				if g, err := i.verify(t.Context(), "token", time.Now()); err != nil || g.UserID != "alice" {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		bubble.Elapse(59 * time.Second)
		_, _ = i.verify(t.Context(), "token", time.Now())
		if n := s.fetches.Load(); n != 1 {
			t.Errorf("%d calls, want one", n)
		}
		bubble.Elapse(time.Second)
		s.set(sayJSON(`{"active":false}`))
		if _, err := i.verify(t.Context(), "token", time.Now()); !errors.Is(err, errTokenInactive) {
			t.Error(err)
		}
		_, _ = i.verify(t.Context(), "token", time.Now())
		if n := s.fetches.Load(); n != 2 {
			t.Errorf("%d calls, want another one a minute later", n)
		}
		_, _ = i.verify(t.Context(), "Token", time.Now())
		if n := s.fetches.Load(); n != 3 {
			t.Errorf("%d calls, want one for another token", n)
		}
	})
}

func TestIntrospectionIsNotCachedPastItsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		end := time.Now().Add(10 * time.Second)
		s := &keyServer{answer: sayJSON(`{"active":true,"sub":"alice","jti":"j","exp":%d}`, end.Unix())}
		i := mustIntrospector(t, s, time.Hour)
		g, err := i.verify(t.Context(), "token", time.Now())
		if err != nil || !g.Expires.Equal(end) || g.JTI != "j" {
			t.Fatalf("%+v, %v", g, err)
		}
		bubble.Elapse(10 * time.Second)
		if _, err := i.verify(t.Context(), "token", time.Now()); !errors.Is(err, errTokenInactive) {
			t.Error(err)
		}
	})
}

func TestIntrospectionTakesNullForAbsent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for answer, user := range map[string]string{
			`{"active":true,"sub":null,"username":"al","exp":null,"jti":null}`: "al",
			`{"active":true,"sub":"alice","username":null}`:                    "alice",
			`{"active":true,"sub":null,"username":null}`:                       "",
			`{"active":true,"sub":7}`:                                          "7",
		} {
			i := mustIntrospector(t, &keyServer{answer: sayJSON("%s", answer)}, 0)
			if g, err := i.verify(t.Context(), "token", time.Now()); err != nil || g.UserID != user || !g.Expires.IsZero() {
				t.Errorf("%s: %+v, %v", answer, g, err)
			}
		}
	})
}

func TestIntrospectionThatFailsIsAskedAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &keyServer{answer: down}
		i := mustIntrospector(t, s, time.Hour)
		for name, answer := range map[string]func(*http.Request) (*http.Response, error){
			"down": down, "slow": slow(time.Hour, down), "status": respond(401, strings.NewReader("")),
		} {
			s.set(answer)
			start := time.Now()
			if _, err := i.verify(t.Context(), "token", time.Now()); !errors.Is(err, ErrUnavailable) {
				t.Errorf("%s: %v", name, err)
			}
			if waited := time.Since(start); waited > time.Second {
				t.Errorf("%s: waited %s", name, waited)
			}
		}
		if _, err := i.call("token"); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("the error is %v", err)
		}
		s.set(sayJSON(`{"active":true}`))
		if _, err := i.verify(t.Context(), "token", time.Now()); err != nil {
			t.Error(err)
		}
	})
}

func TestIntrospectionThatIsDownIsWaitedForOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &keyServer{answer: slow(time.Hour, down)}
		options := testOptions()
		options.JWT = &JWT{Keys: []Key{{Key: publicText(t, "HS256")}}}
		v := mustNew(t, options)
		v.service = mustIntrospector(t, s, time.Hour)
		start := time.Now()
		if _, _, err := v.VerifyAny(t.Context(), []string{"a%20", "a ", "b%20", "b ", "c"}, start); !errors.Is(err, ErrUnavailable) || s.fetches.Load() != 1 || time.Since(start) > time.Second {
			t.Errorf("%v after %d calls and %s", err, s.fetches.Load(), time.Since(start))
		}
		good := signJWT(t, "HS256", nil, `{"sub":"signed","exp":1900003600}`)
		if g, _, err := v.VerifyAny(t.Context(), []string{"unknown", good}, time.Now()); err != nil || g.UserID != "signed" || s.fetches.Load() != 1 {
			t.Errorf("beside one that we can read: %v after %d calls", err, s.fetches.Load())
		}
	})
}

func TestIntrospectionComesAfterWhatWeKnowOurselves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &keyServer{answer: sayJSON(`{"active":true,"sub":"service"}`)}
		options := testOptions()
		options.Static = []Static{{Token: "static", UserID: "static"}}
		options.JWT = &JWT{Keys: []Key{{Key: publicText(t, "HS256")}}}
		v := mustNew(t, options)
		v.service = mustIntrospector(t, s, time.Hour)
		good := signJWT(t, "HS256", nil, `{"sub":"signed","exp":1900003600}`)
		for _, row := range []struct {
			name, token, user string
			asked             int64
		}{
			{"static", "static", "static", 0},
			{"signed", good, "signed", 0},
			{"signed and expired", signJWT(t, "HS256", nil, `{"sub":"signed","exp":1}`), "", 0},
			{"signed and altered", good[:len(good)-4] + "AAAA", "", 0},
			{"signed by others", signJWT(t, "RS256", nil, soundClaims), "service", 1},
			{"opaque", "opaque", "service", 1},
			{"a megabyte", strings.Repeat("a", 1<<20), "", 0},
		} {
			before := s.fetches.Load()
			g, _, err := v.VerifyAny(t.Context(), []string{row.token}, time.Now())
			if (err == nil) != (row.user != "") || err == nil && g.UserID != row.user {
				t.Errorf("%s: %+v, %v", row.name, g, err)
			}
			if asked := s.fetches.Load() - before; asked != row.asked {
				t.Errorf("%s: asked %d times, want %d", row.name, asked, row.asked)
			}
		}
	})
}
