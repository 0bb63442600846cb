package live

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/revocation"
)

// revoked is a revocation for an hour with a code and a reason of its own.
func revoked(r revocation.Revocation) revocation.Revocation {
	r.Until, r.Code, r.Reason = time.Now().Add(time.Hour), 4001, "stolen"
	return r.Identify()
}

func TestRevokeEndsWhatItCovers(t *testing.T) {
	t.Parallel()
	issued := time.Unix(1_700_000_000, 0)
	for name, row := range map[string]struct {
		revoked revocation.Revocation
		ends    []string
	}{
		"a token":                {revocation.Revocation{JTI: "1"}, []string{"alice 1", "bob 1"}},
		"a token elsewhere":      {revocation.Revocation{JTI: "1", Gateway: "other"}, nil},
		"a token here":           {revocation.Revocation{JTI: "1", Gateway: "test"}, []string{"alice 1", "bob 1"}},
		"a user":                 {revocation.Revocation{User: "alice", IssuedBefore: issued}, []string{"alice 1", "alice, undated"}},
		"a user, later":          {revocation.Revocation{User: "alice", IssuedBefore: issued.Add(time.Second)}, []string{"alice 1", "alice 2", "alice, undated"}},
		"a user, before":         {revocation.Revocation{User: "alice", IssuedBefore: issued.Add(-time.Second)}, []string{"alice, undated"}},
		"a user on this gateway": {revocation.Revocation{User: "bob", IssuedBefore: issued, Gateway: "test"}, []string{"bob 1"}},
		"nobody":                 {revocation.Revocation{User: "carol", IssuedBefore: issued}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSet()
				s.accept(access{"a:1", "key"})
				sides := map[string][2]*bubble.Peer{}
				for name, by := range map[string]*token{
					"alice 1":        {userID: "alice", jti: "1", issued: issued},
					"alice 2":        {userID: "alice", jti: "2", issued: issued.Add(time.Second)},
					"alice, undated": {userID: "alice"},
					"bob 1":          {userID: "bob", jti: "1", issued: issued},
					"anonymous":      {},
				} {
					by.credential = "key"
					_, client, backend := openAs(t, s, by.userID, by)
					sides[name] = [2]*bubble.Peer{client, backend}
				}
				_, ended, err := s.Revoke(revoked(row.revoked))
				if ended != len(row.ends) || err != nil {
					t.Errorf("ended %d (%v), want %d", ended, err, len(row.ends))
				}
				synctest.Wait()
				for _, name := range row.ends {
					if client, backend := <-sides[name][0].Code, <-sides[name][1].Code; client != 4001 || backend != 1001 {
						t.Errorf("%s was closed with %d, its upstream with %d", name, client, backend)
					}
				}
				if left := s.End(EndRevoked, func(*Conn) bool { return true }); left != len(sides)-len(row.ends) {
					t.Errorf("%d are left, want %d", left, len(sides)-len(row.ends))
				}
				synctest.Wait()
			})
		})
	}
}

// TestEndOfARevocationSaysItsReason to the client alone.
func TestEndOfARevocationSaysItsReason(t *testing.T) {
	t.Parallel()
	r := revoked(revocation.Revocation{JTI: "1"})
	want := Ending{Client: relay.Close{Code: 4001, Reason: "stolen"}, Upstream: EndRevoked.Upstream}
	if got := endOf(&r); got != want || got.Upstream.Code != 1001 || got.Upstream.Reason == "stolen" {
		t.Errorf("the end is %+v, want %+v", got, want)
	}
}

// TestConnectionNeverSurvivesARevocation that comes as it is added.
func TestConnectionNeverSurvivesARevocation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		byRevoke := 0
		for range 500 {
			s := newSet()
			s.Name("a:1")
			c, client, backend := prepare(t, s, "a:1", "a:1", 0)
			c.UserID = "alice"
			c.authority = (&token{jti: "1"}).authority()
			ended := 0
			var both sync.WaitGroup
			both.Go(func() { elapse(time.Second); live(s, c, client, backend) })
			both.Go(func() {
				elapse(time.Second)
				_, ended, _ = s.Revoke(revoked(revocation.Revocation{User: "alice", IssuedBefore: time.Now()}))
			})
			both.Wait()
			if code := <-client.Code; code != 4001 {
				t.Fatalf("closed with %d, want 4001", code)
			}
			<-backend.Code
			synctest.Wait()
			byRevoke += ended
		}
		t.Logf("ended %d of 500 that were there already", byRevoke)
	})
}

// TestRenewedConnectionStandsOnItsNewestToken, also where a token is revoked at that very
// moment: either the connection is renewed and lives, or it ends.
func TestRenewedConnectionStandsOnItsNewestToken(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		jti   string
		lives bool // where it was renewed
	}{
		"the old one is revoked": {"old", true},
		"the new one is revoked": {"new", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				outcomes := make(map[Renewal]int)
				for range 500 {
					s := newSet()
					s.accept(access{"a:1", "key"})
					id, client, _ := openAs(t, s, "alice", &token{jti: "old", credential: "key"})
					var outcome Renewal
					var both sync.WaitGroup
					both.Go(func() {
						elapse(time.Second)
						outcome = renew(s, "test", id, &token{userID: "alice", jti: "new", credential: "key"}, leadsAnywhere)
					})
					both.Go(func() { elapse(time.Second); _, _, _ = s.Revoke(revoked(revocation.Revocation{JTI: row.jti})) })
					both.Wait()
					synctest.Wait()
					gone, renewed := s.connections.get(id) == nil, outcome == Renewed
					switch {
					case row.lives && gone == renewed:
						t.Fatalf("renewal %d, and it has ended: %t", outcome, gone)
					case !row.lives && renewed != gone, !row.lives && !renewed && outcome != RenewalRevoked:
						t.Fatalf("renewal %d by what is revoked, and it has ended: %t", outcome, gone)
					}
					outcomes[outcome]++
					s.End(EndRevoked, func(*Conn) bool { return true })
					<-client.Code
				}
				t.Logf("renewed %d of 500", outcomes[Renewed])
			})
		})
	}
}

func TestRevocationThatWasLearnedEndsConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		s.accept(access{"a:1", "key"})
		_, stolen, upstream := openAs(t, s, "alice", &token{jti: "1", credential: "key"})
		_, stays, _ := openAs(t, s, "alice", &token{jti: "2", credential: "key"})
		s.EndRevoked()
		s.Revocations.Learn(revoked(revocation.Revocation{JTI: "1"}))
		s.EndRevoked()
		if client, upstream := <-stolen.Code, <-upstream.Code; client != 4001 || upstream != 1001 {
			t.Errorf("closed with %d, its upstream with %d", client, upstream)
		}
		s.EndRevoked()
		synctest.Wait()
		if n := s.End(EndRevoked, func(*Conn) bool { return true }); n != 1 {
			t.Errorf("%d are left, want the one that was not revoked", n)
		}
		<-stays.Code
	})
}

func TestRevocationWithoutRoomEndsNothing(t *testing.T) {
	t.Parallel()
	s := newSet()
	for i := range revocation.Most {
		s.Revocations.Learn(revoked(revocation.Revocation{JTI: fmt.Sprint("other ", i)}))
	}
	c := lone("g", "alice")
	c.authority = (&token{jti: "1"}).authority()
	s.connections.add(c)
	if _, ended, err := s.Revoke(revoked(revocation.Revocation{JTI: "1"})); ended != 0 || !errors.Is(err, revocation.ErrFull) || c.leaving.Load() {
		t.Errorf("ended %d, %v", ended, err)
	}
}

func TestLatestEndIsThatOfTheTokensStoodOn(t *testing.T) {
	t.Parallel()
	s := newSet()
	now := time.Now()
	for _, one := range []struct {
		gateway, jti string
		expires      time.Time
	}{
		{"chat", "1", now.Add(time.Hour)}, {"chat", "1", now.Add(2 * time.Hour)}, {"news", "1", now.Add(3 * time.Hour)},
		{"chat", "endless", time.Time{}}, {"chat", "endless", now}, {"chat", "", now.Add(9 * time.Hour)},
	} {
		c := lone(one.gateway, "alice")
		c.authority = (&token{jti: one.jti, expires: one.expires}).authority()
		s.connections.add(c)
	}
	for _, row := range []struct {
		jti, gateway string
		want         time.Time
	}{
		{"1", "", now.Add(3 * time.Hour)}, {"1", "chat", now.Add(2 * time.Hour)}, {"1", "other", time.Time{}},
		{"endless", "", time.Time{}}, {"2", "", time.Time{}},
	} {
		if got := s.LatestEnd(row.jti, row.gateway); !got.Equal(row.want) {
			t.Errorf("%q on %q ends %s, want %s", row.jti, row.gateway, got, row.want)
		}
	}
}
