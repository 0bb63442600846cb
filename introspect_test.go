package wsgateway

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/carrier"
)

func mustIntrospector(t *testing.T, s *keyServer, cache time.Duration) *introspector {
	t.Helper()
	i, err := newIntrospector(&Introspection{Cache: (*caddy.Duration)(&cache)}, "https://user:hush-hush@auth.example/introspect",
		&http.Client{Transport: s, Timeout: time.Second}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
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
				if g, err := i.verify(t.Context(), "token", time.Now()); err != nil || g.userID != "alice" {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		elapse(59 * time.Second)
		_, _ = i.verify(t.Context(), "token", time.Now())
		if n := s.fetches.Load(); n != 1 {
			t.Errorf("%d calls, want one", n)
		}
		elapse(time.Second)
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
		if err != nil || !g.expires.Equal(end) || g.jti != "j" {
			t.Fatalf("%+v, %v", g, err)
		}
		elapse(10 * time.Second)
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
			if g, err := i.verify(t.Context(), "token", time.Now()); err != nil || g.userID != user || !g.expires.IsZero() {
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
			if _, err := i.verify(t.Context(), "token", time.Now()); !errors.Is(err, errUnavailable) {
				t.Errorf("%s: %v", name, err)
			}
			if waited := time.Since(start); waited > time.Second {
				t.Errorf("%s: waited %s", name, waited)
			}
		}
		if _, err := i.call(t.Context(), "token"); err == nil || strings.Contains(err.Error(), "hush") {
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
		a, err := assembleAuthenticator(&Auth{
			Token: []TokenCarrier{{From: "cookie", Name: "session"}}, Introspect: new(Introspection),
			JWT: &JWT{Keys: []JWTKey{{Key: publicText(t, "HS256")}}},
		}, authParts{service: mustIntrospector(t, s, time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		r := requestWithHeader(carrier.CookieField, "session=a%20; session=b%20; session=c%20; session=d%20")
		if _, err := a.authenticate(r); !errors.Is(err, errUnavailable) || s.fetches.Load() != 1 || time.Since(start) > time.Second {
			t.Errorf("%v after %d calls and %s", err, s.fetches.Load(), time.Since(start))
		}
		good := signJWT(t, "HS256", nil, `{"sub":"signed","exp":1900003600}`)
		r = requestWithHeader(carrier.CookieField, "session=unknown; session="+good)
		if id, err := a.authenticate(r); err != nil || id.userID != "signed" || s.fetches.Load() != 1 {
			t.Errorf("beside one that we can read: %v after %d calls", err, s.fetches.Load())
		}
	})
}

func TestIntrospectionComesAfterWhatWeKnowOurselves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &keyServer{answer: sayJSON(`{"active":true,"sub":"service"}`)}
		a, err := assembleAuthenticator(&Auth{
			Bearer:     []BearerToken{{Token: "static", UserID: "static"}},
			JWT:        &JWT{Keys: []JWTKey{{Key: publicText(t, "HS256")}}},
			Introspect: new(Introspection),
		}, authParts{service: mustIntrospector(t, s, time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
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
			g, _, err := a.verifyAny(t.Context(), []string{row.token}, time.Now())
			if (err == nil) != (row.user != "") || err == nil && g.userID != row.user {
				t.Errorf("%s: %+v, %v", row.name, g, err)
			}
			if asked := s.fetches.Load() - before; asked != row.asked {
				t.Errorf("%s: asked %d times, want %d", row.name, asked, row.asked)
			}
		}
	})
}
