package token

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// gauge counts what is under way, and the most there ever was.
type gauge struct{ total, now, most atomic.Int64 }

func (g *gauge) enter() {
	g.total.Add(1)
	now := g.now.Add(1)
	for most := g.most.Load(); now > most && !g.most.CompareAndSwap(most, now); {
		most = g.most.Load()
	}
}

func (g *gauge) leave() { g.now.Add(-1) }

// sayByName says that tokens are good whose names begin with g.
func sayByName(token string) string { return fmt.Sprintf(`{"active":%t,"sub":"x"}`, token[0] == 'g') }

// verifyAll verifies tokens, so many at a time, and counts how it went.
func verifyAll(t *testing.T, i *introspector, prefix string, n, atATime int) (good, bad, unavailable int64) {
	t.Helper()
	var wg sync.WaitGroup
	var next, goods, bads, others atomic.Int64
	for range atATime {
		wg.Go(func() {
			for k := next.Add(1); k <= int64(n); k = next.Add(1) {
				switch _, err := i.verify(t.Context(), fmt.Sprint(prefix, k), time.Now()); {
				case err == nil:
					goods.Add(1)
				case errors.Is(err, ErrBadCredential):
					bads.Add(1)
				case errors.Is(err, ErrUnavailable):
					others.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return goods.Load(), bads.Load(), others.Load()
}

func TestIntrospectionAttackFloodOfTokensLeavesTheServiceAndUsersAlone(t *testing.T) {
	t.Parallel()
	var conns atomic.Int64
	var calls gauge
	service := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.enter()
		defer calls.leave()
		_, _ = w.Write([]byte(sayByName(r.FormValue("token"))))
	}))
	service.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	service.Start()
	t.Cleanup(service.Close)
	hour := time.Hour
	i, err := testOptions().newIntrospector(&Introspection{URL: service.URL, Cache: &hour, Timeout: hour})
	if err != nil {
		t.Fatal(err)
	}
	const users, strangers = 100, 10_500
	if good, _, _ := verifyAll(t, i, "g", users, 10); good != users {
		t.Fatalf("%d of %d users may come in", good, users)
	}
	if _, bad, _ := verifyAll(t, i, "b", strangers, 500); bad != strangers {
		t.Errorf("%d of %d made-up tokens are refused", bad, strangers)
	}
	if n := conns.Load(); n > 2*maxIntrospectCalls {
		t.Errorf("%d connections to the service", n)
	}
	if n := calls.most.Load(); n > maxIntrospectCalls {
		t.Errorf("%d calls at once", n)
	}
	if len(i.bad.byKey) > maxIntrospectCached || i.bad.queue.Len() != len(i.bad.byKey) {
		t.Errorf("%d made-up tokens are remembered, in a line of %d", len(i.bad.byKey), i.bad.queue.Len())
	}
	before := calls.total.Load()
	if good, _, _ := verifyAll(t, i, "g", users, 10); good != users || calls.total.Load() != before {
		t.Errorf("%d of %d users may come in, %d of them are asked about again", good, users, calls.total.Load()-before)
	}
}

func TestIntrospectionIsUnavailableToThoseWhoseTurnDoesNotCome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls gauge
		s := &keyServer{answer: func(r *http.Request) (*http.Response, error) {
			calls.enter()
			defer calls.leave()
			return slow(500*time.Millisecond, sayJSON(`{"active":true}`))(r)
		}}
		i := mustIntrospector(t, s, time.Hour)
		i.timeout = time.Second
		start := time.Now()
		good, _, unavailable := verifyAll(t, i, "g", 100, 100)
		// Three times in a second it is the turn of as many as may be asked about.
		if good < 2*maxIntrospectCalls || good > 3*maxIntrospectCalls || good+unavailable != 100 {
			t.Errorf("%d may come in, and %d have to come back", good, unavailable)
		}
		if n := calls.most.Load(); n != maxIntrospectCalls {
			t.Errorf("%d calls at once, want %d", n, maxIntrospectCalls)
		}
		if waited := time.Since(start); waited > 1500*time.Millisecond {
			t.Errorf("they waited %s", waited)
		}
		if len(i.pending) != 0 || i.down {
			t.Errorf("%d are pending; the service counts as down: %t", len(i.pending), i.down)
		}
		if _, err := i.verify(t.Context(), "late", time.Now()); err != nil {
			t.Errorf("once it is quiet: %v", err)
		}
	})
}

// A service that hangs up between two calls, or in the face of one, is no outage.
func TestIntrospectionOverAConnectionThatWasClosedIsAskedAgain(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { // answers the first call, and hangs up when there is another
				defer conn.Close()
				br := bufio.NewReader(conn)
				r, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				answer := sayByName(r.FormValue("token"))
				_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
				_, _ = http.ReadRequest(br)
			}()
		}
	}()
	i, err := testOptions().newIntrospector(&Introspection{URL: "http://" + ln.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	i.client = newHTTPClient(nil, time.Minute, 1)
	for n := range 3 {
		if _, err := i.verify(t.Context(), fmt.Sprint("g", n), time.Now()); err != nil {
			t.Errorf("call %d: %v", n+1, err)
		}
	}
}

func TestHTTPIsForLoopbackAddressesUnlessAllowed(t *testing.T) {
	t.Parallel()
	for address, ok := range map[string]bool{
		"https://auth.example/introspect": true,
		"http://127.0.0.1:8080/":          true,
		"http://[::1]/":                   true,
		"http://localhost/":               true,
		"http://auth.example/":            false,
		"http://10.0.0.1/":                false,
		"http://localhost.example/":       false,
		"http://127.0.0.1@auth.example/":  false,
	} {
		_, err := testOptions().newIntrospector(&Introspection{URL: address})
		if (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
		if _, err := testOptions().newIntrospector(&Introspection{URL: address, AllowHTTP: true}); err != nil {
			t.Errorf("%s, where it is allowed: %v", address, err)
		}
		if err := CheckKeySetURL(address, false); (err == nil) != ok {
			t.Errorf("%s, for a key set: %v", address, err)
		}
		if err := CheckKeySetURL(address, true); err != nil {
			t.Errorf("%s, for a key set where it is allowed: %v", address, err)
		}
	}
}

func BenchmarkIntrospectionRemembersOneMoreThanItKeeps(b *testing.B) {
	kept := newAnswers(time.Hour, maxIntrospectCached)
	now := time.Now()
	keyOf := func(n int) (key tokenKey) {
		copy(key[:], fmt.Sprint(n))
		return key
	}
	for n := range maxIntrospectCached {
		kept.put(keyOf(n), nil, errTokenInactive, now)
	}
	b.ReportAllocs()
	n := maxIntrospectCached
	for b.Loop() {
		kept.put(keyOf(n), nil, errTokenInactive, now)
		n++
	}
}
