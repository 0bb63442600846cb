package live

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

func TestTokenEndsItsConnectionToTheSecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		s.accept(access{"a:1", "key 1"})
		start := time.Now()
		_, client, backend := openAs(t, s, "alice", &token{userID: "alice", credential: "key 1", expires: start.Add(90 * time.Second)})
		renewedID, other, _ := openAs(t, s, "alice", &token{userID: "alice", credential: "key 1", expires: start.Add(90 * time.Second)})
		if got := renew(s, "test", renewedID, &token{userID: "alice", credential: "key 1", expires: start.Add(5 * time.Minute)}, leadsAnywhere); got != Renewed {
			t.Errorf("renew: %d", got)
		}
		if code := <-client.Code; code != 3000 || time.Since(start) != 90*time.Second {
			t.Errorf("the client got %d after %s, want 3000 after 1m30s", code, time.Since(start))
		}
		if code := <-backend.Code; code != 1001 {
			t.Errorf("the upstream got %d, want 1001", code)
		}
		if code := <-other.Code; code != 3000 || time.Since(start) != 5*time.Minute {
			t.Errorf("the renewed one got %d after %s, want 3000 after 5m", code, time.Since(start))
		}
		synctest.Wait()
		if s.connections.count+len(s.deadlines.queue) != 0 {
			t.Errorf("%d connections and %d deadlines are left", s.connections.count, len(s.deadlines.queue))
		}
	})
}

func TestWithdrawnCredentialEndsItsConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		for _, name := range []string{"bearer 1", "bearer 2", "bearer 1"} {
			s.accept(access{"a:1", name})
		}
		_, one, _ := openAs(t, s, "alice", &token{credential: "bearer 1"})
		_, two, _ := openAs(t, s, "bob", &token{credential: "bearer 2"})
		s.withdraw(access{"a:1", "bearer 1"})
		synctest.Wait()
		if n := len(s.list(func(*Conn) bool { return true })); n != 2 {
			t.Fatalf("%d connections live while a configuration still accepts both, want 2", n)
		}
		s.withdraw(access{"a:1", "bearer 1"})
		if code := <-one.Code; code != 3000 {
			t.Errorf("got %d, want 3000", code)
		}
		_, late, _ := openAs(t, s, "alice", &token{credential: "bearer 1"})
		if code := <-late.Code; code != 3000 {
			t.Errorf("one that came too late got %d, want 3000", code)
		}
		synctest.Wait()
		if n := len(s.list(func(*Conn) bool { return true })); n != 1 {
			t.Errorf("%d connections live, want the other one", n)
		}
		s.withdraw(access{"a:1", "bearer 2"})
		<-two.Code
	})
}

func TestCredentialOutlivesItsUpstream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		for _, member := range []string{"a:1", "b:2"} {
			s.accept(access{member, "key"})
		}
		_, gone, _ := openAs(t, s, "alice", &token{credential: "key"})
		s.unname("a:1")
		s.withdraw(access{"a:1", "key"})
		if code := <-gone.Code; code != 1012 {
			t.Errorf("got %d where the upstream is gone and the credential is not, want 1012", code)
		}
		_, other, _ := openAs(t, s, "alice", &token{credential: "key"})
		if code := <-other.Code; code != 3000 {
			t.Errorf("got %d where the credential does not lead to the upstream any more, want 3000", code)
		}
	})
}

func TestCredentialsOfAConfigurationAreWithdrawnOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		members := []string{"a:1", "b:2"}
		before, after := s.NewCredentials(), s.NewCredentials()
		before.Accept([]string{"old", "kept"}, members)
		before.Accept([]string{"kept", "new"}, members) // once more makes no difference
		if before.Lead("a:1", "other") || before.Lead("c:3", "old") || !before.Lead("b:2", "new") {
			t.Error("they do not lead where they were accepted for")
		}
		_, old, _ := openAs(t, s, "alice", &token{credential: "old"})
		_, kept, _ := openAs(t, s, "alice", &token{credential: "kept"})
		before.KeepOnly([]string{"kept", "new"})
		if code := <-old.Code; code != 3000 || before.Lead("a:1", "old") {
			t.Errorf("got %d, want 3000", code)
		}
		after.Accept([]string{"kept"}, members) // as a reload does
		before.Release()
		before.Release()
		before.Accept([]string{"old"}, members)
		synctest.Wait()
		if len(kept.Code) != 0 || len(s.accesses) != 3 {
			t.Errorf("%d ended and %d accesses are left, want 0 and 3", len(kept.Code), len(s.accesses))
		}
		after.Release()
		if code := <-kept.Code; code != 3000 || len(s.accesses) != 0 {
			t.Errorf("got %d with %d accesses left, want 3000 and 0", code, len(s.accesses))
		}
	})
}

func TestNineThousandConnectionsOfAUserEndTogether(t *testing.T) {
	s := newSet()
	s.accept(access{"a:1", "k"})
	var clients []*bubble.Peer
	for range 9000 {
		_, client, _ := openAs(t, s, "alice", &token{credential: "k"})
		clients = append(clients, client)
	}
	_, other, _ := openAs(t, s, "bob", &token{credential: "k"})
	start := time.Now()
	if n := s.End(EndRevoked, func(c *Conn) bool { return c.UserID == "alice" }); n != 9000 {
		t.Errorf("%d ended", n)
	}
	for _, c := range clients {
		if code := <-c.Code; code != 3000 {
			t.Fatalf("closed with %d, want 3000", code)
		}
	}
	t.Logf("took %s", time.Since(start)) // half a second, on a machine that does nothing else
	s.End(EndRevoked, func(*Conn) bool { return true })
	<-other.Code
}
