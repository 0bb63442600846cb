package wsgateway

import (
	"errors"
	"math/rand/v2"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// lone is a connection without sides, for tests of what counts it.
func lone(gateway, user string) *connection {
	return &connection{id: newConnectionID(), gateway: gateway, userID: user}
}

func TestConnectionsEndWhenTheyAreDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		ended := make(map[*connection]time.Time)
		d := &deadlines{end: func(c *connection) {
			mu.Lock()
			defer mu.Unlock()
			ended[c] = time.Now()
		}}
		start := time.Now()
		due := make(map[*connection]time.Time)
		for range 1000 {
			c := lone("g", "u")
			due[c] = start.Add(time.Duration(rand.IntN(7200)) * time.Second)
			d.set(c, start.Add(time.Hour))
			d.set(c, due[c])
		}
		dropped, never := lone("g", "u"), lone("g", "u")
		d.set(dropped, start.Add(time.Minute))
		d.forget(dropped)
		d.set(dropped, start.Add(time.Minute))
		d.set(never, start.Add(time.Minute))
		d.set(never, time.Time{})
		elapse(3 * time.Hour)
		synctest.Wait()
		if len(ended) != len(due) {
			t.Errorf("%d ended, want %d", len(ended), len(due))
		}
		for c, at := range due {
			if !ended[c].Equal(at) {
				t.Fatalf("ended %s after it was due", ended[c].Sub(at))
			}
		}
		if len(d.queue) != 0 {
			t.Errorf("%d are still in the queue", len(d.queue))
		}
	})
}

func TestDeadlineInTheFarFutureDoesNotOverflow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ended := 0
		d := &deadlines{end: func(*connection) { ended++ }}
		c := lone("g", "u")
		d.set(c, time.Unix(maxSeconds, 0))
		elapse(time.Hour)
		synctest.Wait()
		if ended != 0 {
			t.Error("ended")
		}
		d.forget(c)
	})
}

func TestMillionDeadlinesAreCheap(t *testing.T) {
	const n = 1_000_000
	all := make([]connection, n)
	d := &deadlines{end: func(*connection) {}}
	start := time.Now().Add(time.Hour)
	goroutines := runtime.NumGoroutine()
	before := allocated()
	for i := range all {
		d.set(&all[i], start.Add(time.Duration(i)*time.Millisecond))
	}
	const own = 8 + 8 + 8 // due, duePlace and dueNever
	if each := (allocated()-before)/n + own; each > 100 {
		t.Errorf("%d bytes each, want at most 100", each)
	}
	if more := runtime.NumGoroutine() - goroutines; more > 1 {
		t.Errorf("%d goroutines more", more)
	}
	for i := range all {
		d.forget(&all[i])
	}
}

// allocated is what is allocated now, after a collection.
func allocated() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

func BenchmarkDeadline(b *testing.B) {
	d := &deadlines{end: func(*connection) {}}
	all := make([]connection, 10_000)
	for i := range all {
		d.set(&all[i], time.Now().Add(time.Hour+time.Duration(i)*time.Second))
	}
	var c connection
	b.ReportAllocs()
	for b.Loop() {
		d.set(&c, time.Now().Add(2*time.Hour))
	}
}

// openAs is open for a connection that lives by a grant.
func openAs(t *testing.T, g *registry, user string, by *grant) (id string, client, backend *peer) {
	t.Helper()
	_ = g.join("a:1")
	c, client, backend := prepare(t, "a:1", "a:1", 0)
	c.userID = user
	c.authority = newAuthority(by)
	live(g, c, client, backend)
	return c.id, client, backend
}

// leadsAnywhere is a handler that lets every credential in to every upstream.
func leadsAnywhere(*connection, string) bool { return true }

func TestTokenEndsItsConnectionToTheSecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRegistry()
		_ = g.accept("a:1", "key 1")
		start := time.Now()
		_, client, backend := openAs(t, g, "alice", &grant{userID: "alice", credential: "key 1", expires: start.Add(90 * time.Second)})
		renewedID, other, _ := openAs(t, g, "alice", &grant{userID: "alice", credential: "key 1", expires: start.Add(90 * time.Second)})
		if got := g.renew("test", renewedID, &grant{userID: "alice", credential: "key 1", expires: start.Add(5 * time.Minute)}, leadsAnywhere); got != renewed {
			t.Errorf("renew: %d", got)
		}
		if code := <-client.code; code != 3000 || time.Since(start) != 90*time.Second {
			t.Errorf("the client got %d after %s, want 3000 after 1m30s", code, time.Since(start))
		}
		if code := <-backend.code; code != 1001 {
			t.Errorf("the upstream got %d, want 1001", code)
		}
		if code := <-other.code; code != 3000 || time.Since(start) != 5*time.Minute {
			t.Errorf("the renewed one got %d after %s, want 3000 after 5m", code, time.Since(start))
		}
		synctest.Wait()
		if len(g.connections)+len(g.deadlines.queue) != 0 {
			t.Errorf("%d connections and %d deadlines are left", len(g.connections), len(g.deadlines.queue))
		}
	})
}

func TestWithdrawnCredentialEndsItsConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRegistry()
		for _, name := range []string{"bearer 1", "bearer 2", "bearer 1"} {
			_ = g.accept("a:1", name)
		}
		_, one, _ := openAs(t, g, "alice", &grant{credential: "bearer 1"})
		_, two, _ := openAs(t, g, "bob", &grant{credential: "bearer 2"})
		g.withdraw("a:1", "bearer 1")
		synctest.Wait()
		if n := len(g.list(func(*connection) bool { return true })); n != 2 {
			t.Fatalf("%d connections live while a configuration still accepts both, want 2", n)
		}
		g.withdraw("a:1", "bearer 1")
		if code := <-one.code; code != 3000 {
			t.Errorf("got %d, want 3000", code)
		}
		_, late, _ := openAs(t, g, "alice", &grant{credential: "bearer 1"})
		if code := <-late.code; code != 3000 {
			t.Errorf("one that came too late got %d, want 3000", code)
		}
		synctest.Wait()
		if n := len(g.list(func(*connection) bool { return true })); n != 1 {
			t.Errorf("%d connections live, want the other one", n)
		}
		g.withdraw("a:1", "bearer 2")
		<-two.code
	})
}

func TestCredentialOutlivesItsUpstream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRegistry()
		for _, member := range []string{"a:1", "b:2"} {
			_ = g.accept(member, "key")
		}
		_, gone, _ := openAs(t, g, "alice", &grant{credential: "key"})
		g.leave("a:1")
		g.withdraw("a:1", "key")
		if code := <-gone.code; code != 1012 {
			t.Errorf("got %d where the upstream is gone and the credential is not, want 1012", code)
		}
		_, other, _ := openAs(t, g, "alice", &grant{credential: "key"})
		if code := <-other.code; code != 3000 {
			t.Errorf("got %d where the credential does not lead to the upstream any more, want 3000", code)
		}
	})
}

func TestAdminEndsConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRegistry()
		_ = g.accept("a:1", "k")
		type end struct{ code int }
		id, byID, _ := openAs(t, g, "alice", &grant{jti: "j1", credential: "k"})
		_, byJTI, _ := openAs(t, g, "bob", &grant{jti: "j2", credential: "k"})
		_, byUser, _ := openAs(t, g, "carol", &grant{credential: "k"})
		_, byUser2, _ := openAs(t, g, "carol", &grant{credential: "k"})
		_, stays, _ := openAs(t, g, "dave", &grant{credential: "k"})
		for _, row := range []struct {
			method, target string
			status         int
			answer         string
			ends           map[*peer]end
		}{
			{"GET", "", 405, "use DELETE", nil},
			{"DELETE", "", 400, "say which connections", nil},
			{"DELETE", "?code=4000", 400, "say which connections", nil},
			{"DELETE", "?user=", 400, "must be given once", nil},
			{"DELETE", "?user=a&user=b", 400, "must be given once", nil},
			{"DELETE", "?user=carol&code=4000&code=4001", 400, "code must be given once", nil},
			{"DELETE", "?user=carol&reason=a&reason=b", 400, "reason must be given once", nil},
			{"DELETE", "/" + id + "?code=4000&code=4000", 400, "code must be given once", nil},
			{"DELETE", "?user=%zz", 400, "query is damaged", nil},
			{"DELETE", "?name=carol", 400, "allowed are code, gateway, ip, jti, reason, upstream, user", nil},
			{"DELETE", "/" + id + "?user=alice", 400, "allowed are code, reason", nil},
			{"DELETE", "?user=carol&code=1005", 400, "cannot be sent", nil},
			{"DELETE", "?user=carol&code=999", 400, "cannot be sent", nil},
			{"DELETE", "?user=carol&code=x", 400, "cannot be sent", nil},
			{"DELETE", "?user=carol&reason=" + strings.Repeat("r", 124), 400, "at most 123", nil},
			{"DELETE", "?user=carol&reason=%ff", 400, "UTF-8", nil},
			{"DELETE", "/none", 404, "no such connection", nil},
			{"DELETE", "?user=nobody", 200, `{"ended":0}`, nil},
			{"DELETE", "?user=carol&gateway=other", 200, `{"ended":0}`, nil},
			{"DELETE", "/" + id, 200, `{"ended":1}`, map[*peer]end{byID: {3000}}},
			{"DELETE", "?jti=j2&code=4001&reason=go", 200, `{"ended":1}`, map[*peer]end{byJTI: {4001}}},
			{"DELETE", "?user=carol&gateway=test&upstream=a:1", 200, `{"ended":2}`, map[*peer]end{byUser: {3000}, byUser2: {3000}}},
		} {
			rec := httptest.NewRecorder()
			err := adminConnections(g)(rec, httptest.NewRequest(row.method, connectionsPath+row.target, nil))
			status, answer := rec.Code, strings.TrimSpace(rec.Body.String())
			if err != nil {
				status, answer = apiStatus(err), err.Error()
			}
			if status != row.status || !strings.Contains(answer, row.answer) {
				t.Errorf("%s %s: %d %s, want %d %s", row.method, row.target, status, answer, row.status, row.answer)
			}
			for p, want := range row.ends {
				if code := <-p.code; code != want.code {
					t.Errorf("%s: closed with %d, want %d", row.target, code, want.code)
				}
			}
			synctest.Wait()
		}
		if n := len(g.list(func(*connection) bool { return true })); n != 1 {
			t.Errorf("%d are left, want the one that nobody named", n)
		}
		g.endAll(endRevoked, func(*connection) bool { return true })
		<-stays.code
	})
}

func TestNineThousandConnectionsOfAUserEndTogether(t *testing.T) {
	g := newRegistry()
	_ = g.accept("a:1", "k")
	var clients []*peer
	for range 9000 {
		_, client, _ := openAs(t, g, "alice", &grant{credential: "k"})
		clients = append(clients, client)
	}
	_, other, _ := openAs(t, g, "bob", &grant{credential: "k"})
	start := time.Now()
	if n := g.endAll(endRevoked, func(c *connection) bool { return c.userID == "alice" }); n != 9000 {
		t.Errorf("%d ended", n)
	}
	for _, c := range clients {
		if code := <-c.code; code != 3000 {
			t.Fatalf("closed with %d, want 3000", code)
		}
	}
	t.Logf("took %s", time.Since(start)) // half a second, on a machine that does nothing else
	g.endAll(endRevoked, func(*connection) bool { return true })
	<-other.code
}

func apiStatus(err error) int {
	if answer, ok := errors.AsType[caddy.APIError](err); ok {
		return answer.HTTPStatus
	}
	return 0
}
