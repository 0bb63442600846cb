package token

import (
	"crypto"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

// keyServer serves a key set without a network.
type keyServer struct {
	fetches atomic.Int64

	mu     sync.Mutex
	answer func(*http.Request) (*http.Response, error)
}

// RoundTrip implements http.RoundTripper.
func (s *keyServer) RoundTrip(r *http.Request) (*http.Response, error) {
	s.fetches.Add(1)
	s.mu.Lock()
	answer := s.answer
	s.mu.Unlock()
	return answer(r)
}

func (s *keyServer) set(answer func(*http.Request) (*http.Response, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func respond(status int, body io.Reader) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{"Location": {"/elsewhere"}}, Body: io.NopCloser(body)}, nil
	}
}

// serve answers with public keys, named by their algorithms.
func serve(t *testing.T, algorithms ...string) func(*http.Request) (*http.Response, error) {
	t.Helper()
	var set jose.JSONWebKeySet
	for _, name := range algorithms {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: issuerKeys()[name].(crypto.Signer).Public(), KeyID: name})
	}
	body, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return func(r *http.Request) (*http.Response, error) { return respond(200, strings.NewReader(string(body)))(r) }
}

func down(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }

func slow(d time.Duration, then func(*http.Request) (*http.Response, error)) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return then(r)
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
}

// startSource runs a source in a bubble, where it ends with the test.
func startSource(t *testing.T, s *keyServer) *KeySource {
	t.Helper()
	source := newKeySource("https://issuer.example/keys", &http.Client{
		Transport: s, Timeout: jwksTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, zap.NewNop())
	go source.run(source.fetch())
	t.Cleanup(func() {
		source.Close()
		synctest.Wait()
	})
	return source
}

// kidToken is signed with the key of that name. Time in a bubble begins in the
// year 2000.
func kidToken(t *testing.T, name string) string {
	t.Helper()
	return signJWT(t, name, map[string]any{"kid": name}, `{"sub":"alice","exp":1900003600}`)
}

func TestKeySetIsFetchedInTheBackgroundAndOnATimer(t *testing.T) {
	t.Parallel()
	server := &keyServer{answer: serve(t, "ES256")}
	token := kidToken(t, "ES256")
	synctest.Test(t, func(t *testing.T) {
		v := mustVerifier(t, new(JWT), startSource(t, server))
		if _, err := v.verify(t.Context(), token, time.Now()); err != nil {
			t.Fatal(err)
		}
		if n := server.fetches.Load(); n != 1 {
			t.Errorf("%d fetches, want the first one", n)
		}
		bubble.Elapse(time.Hour)
		if n := server.fetches.Load(); n < 6 || n > 8 {
			t.Errorf("%d fetches in an hour, want one every ten minutes", n)
		}
	})
}

func TestKeySetIsFetchedOnceForAnyNumberOfHandshakesWithANewKey(t *testing.T) {
	t.Parallel()
	server := &keyServer{answer: serve(t, "ES256")}
	old, rotated := kidToken(t, "ES256"), kidToken(t, "RS256")
	synctest.Test(t, func(t *testing.T) {
		v := mustVerifier(t, new(JWT), startSource(t, server))
		synctest.Wait()
		server.set(slow(time.Second, serve(t, "RS256")))
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				if _, err := v.verify(t.Context(), rotated, time.Now()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := server.fetches.Load(); n != 2 {
			t.Errorf("%d fetches, want the first and one for all", n)
		}
		if _, err := v.verify(t.Context(), old, time.Now()); !errors.Is(err, errJWTKey) {
			t.Errorf("the key that was taken out: %v", err)
		}
	})
}

func TestKeySetAttackFloodOfUnknownKeys(t *testing.T) {
	t.Parallel()
	server := &keyServer{answer: serve(t, "ES256")}
	token := kidToken(t, "RS256")
	synctest.Test(t, func(t *testing.T) {
		v := mustVerifier(t, new(JWT), startSource(t, server))
		synctest.Wait()
		for range 10_000 {
			if _, err := v.verify(t.Context(), token, time.Now()); !errors.Is(err, errJWTKey) {
				t.Fatal(err)
			}
		}
		if n := server.fetches.Load(); n != 2 {
			t.Errorf("%d fetches, want the first and one for the unknown key", n)
		}
		bubble.Elapse(jwksBetween)
		_, _ = v.verify(t.Context(), token, time.Now())
		_, _ = v.verify(t.Context(), token, time.Now())
		if n := server.fetches.Load(); n != 3 {
			t.Errorf("%d fetches, want another one a minute later", n)
		}
	})
}

func TestKeySetKeepsItsKeysWhenAFetchFails(t *testing.T) {
	t.Parallel()
	var read atomic.Int64
	for name, answer := range map[string]func(*http.Request) (*http.Response, error){
		"down":      down,
		"hanging":   slow(time.Hour, down),
		"garbage":   respond(200, strings.NewReader("<html>")),
		"empty set": respond(200, strings.NewReader(`{"keys":[]}`)),
		"status":    respond(500, strings.NewReader("")),
		"redirect":  respond(302, strings.NewReader("")),
		"100 MB":    respond(200, &counted{io.LimitReader(zeros{}, 100<<20), &read}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := &keyServer{answer: serve(t, "ES256")}
			token, unknown := kidToken(t, "ES256"), kidToken(t, "RS256")
			synctest.Test(t, func(t *testing.T) {
				v := mustVerifier(t, new(JWT), startSource(t, server))
				synctest.Wait()
				server.set(answer)
				start := time.Now()
				if _, err := v.verify(t.Context(), unknown, time.Now()); !errors.Is(err, errJWTKey) {
					t.Error(err)
				}
				if waited := time.Since(start); waited > jwksPatience {
					t.Errorf("a handshake waited %s", waited)
				}
				bubble.Elapse(jwksInterval + time.Minute)
				if _, err := v.verify(t.Context(), token, time.Now()); err != nil {
					t.Errorf("with a key that was there: %v", err)
				}
				server.set(serve(t, "RS256"))
				bubble.Elapse(jwksMaxRetry + jwksTimeout)
				if _, err := v.verify(t.Context(), unknown, time.Now()); err != nil {
					t.Errorf("after it came back: %v", err)
				}
			})
		})
	}
	t.Cleanup(func() {
		if n := read.Load(); n == 0 || n > 10*maxJWKSSize {
			t.Errorf("%d bytes of the large answer were read", n)
		}
	})
}

func TestKeySetThatWasNeverThereMakesHandshakesUnavailable(t *testing.T) {
	t.Parallel()
	server := &keyServer{answer: slow(jwksTimeout/2+time.Second, serve(t, "ES256"))}
	token := kidToken(t, "ES256")
	synctest.Test(t, func(t *testing.T) {
		v := mustVerifier(t, new(JWT), startSource(t, server))
		start := time.Now()
		if _, err := v.verify(t.Context(), token, time.Now()); !errors.Is(err, ErrUnavailable) {
			t.Error(err)
		}
		if waited := time.Since(start); waited != jwksPatience {
			t.Errorf("waited %s, want %s", waited, jwksPatience)
		}
		if _, err := v.verify(t.Context(), token, time.Now()); err != nil {
			t.Errorf("once it answered: %v", err)
		}
		server.set(down)
		other := mustVerifier(t, new(JWT), startSource(t, server))
		synctest.Wait()
		if _, err := other.verify(t.Context(), token, time.Now()); !errors.Is(err, ErrUnavailable) {
			t.Error(err)
		}
	})
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type counted struct {
	io.Reader
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}
