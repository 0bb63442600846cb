package live

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestRenewIsForWhomTheConnectionBelongsTo through a handler that would have let
// the user in to the same upstream.
func TestRenewIsForWhomTheConnectionBelongsTo(t *testing.T) {
	t.Parallel()
	end := time.Now().Add(time.Hour)
	later := end.Add(time.Hour)
	byKey := func(user, issuer string, expires time.Time) *token {
		return &token{userID: user, issuer: issuer, credential: "key", jti: "new", expires: expires}
	}
	for name, row := range map[string]struct {
		user    string // whose the connection is
		stands  token  // on what
		gateway string
		by      *token
		leads   []string // credentials of the handler that is asked
		want    Renewal
	}{
		"the same user":                      {user: "alice", stands: token{credential: "key", expires: end}, by: byKey("alice", "", later), want: Renewed},
		"a shorter life":                     {user: "alice", stands: token{credential: "key", expires: later}, by: byKey("alice", "", end), want: Renewed},
		"an end for the endless":             {user: "alice", stands: token{credential: "bearer"}, by: byKey("alice", "", end), want: Renewed},
		"the endless for the endless":        {user: "alice", stands: token{credential: "bearer"}, by: byKey("alice", "", time.Time{}), want: Renewed},
		"no end for one with an end":         {user: "alice", stands: token{credential: "key", expires: end}, by: byKey("alice", "", time.Time{}), want: RenewalWithoutAnEnd},
		"another user":                       {user: "alice", stands: token{credential: "key"}, by: byKey("bob", "", end), want: RenewalOtherUser},
		"a token without user":               {user: "alice", stands: token{credential: "key"}, by: byKey("", "", end), want: RenewalOtherUser},
		"nobody's connection":                {stands: token{}, by: byKey("", "", end), want: RenewalOtherUser},
		"the same issuer":                    {user: "1001", stands: token{credential: "key", issuer: "a"}, by: byKey("1001", "a", end), want: Renewed},
		"the ID of another issuer":           {user: "1001", stands: token{credential: "key", issuer: "a"}, by: byKey("1001", "b", end), want: RenewalOtherUser},
		"the issuer is said by one only":     {user: "alice", stands: token{credential: "bearer"}, by: byKey("alice", "b", end), want: Renewed},
		"another gateway":                    {user: "alice", stands: token{credential: "key"}, gateway: "h", by: byKey("alice", "", end), want: RenewalUnknown},
		"a handler that leads elsewhere":     {user: "alice", stands: token{credential: "key"}, by: byKey("alice", "", end), leads: []string{"bearer"}, want: RenewalElsewhere},
		"withdrawn meanwhile":                {user: "alice", stands: token{credential: "key"}, by: &token{userID: "alice", credential: "old"}, want: RenewalElsewhere},
		"a handler that does not know hers":  {user: "alice", stands: token{credential: "bearer"}, by: byKey("alice", "", end), leads: []string{"key"}, want: RenewalOtherUser},
		"a handler in front that says alice": {user: "alice", stands: token{credential: "key", expires: end}, by: &token{userID: "alice", credential: "inherit"}, leads: []string{"inherit"}, want: RenewalOtherUser},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSet()
			for _, credential := range []string{"key", "bearer", "inherit"} {
				s.accept(access{"a:1", credential})
			}
			c := lone("g", row.user)
			c.member = "a:1"
			before := row.stands.authority()
			c.authority = before
			s.connections.add(c)
			s.deadlines.set(c, c.endsBy(before.expires))
			due := c.due
			leads := func(_, credential string) bool {
				return row.leads == nil || slices.Contains(row.leads, credential)
			}
			gateway := "g"
			if row.gateway != "" {
				gateway = row.gateway
			}
			if got := renew(s, gateway, c.ID, row.by, leads); got != row.want {
				t.Errorf("%d, want %d", got, row.want)
			}
			want := before
			if row.want == Renewed {
				want = row.by.authority()
			} else if c.due != due {
				t.Error("its end was moved")
			}
			if c.authority != want {
				t.Errorf("it stands on %+v, want %+v", c.authority, want)
			}
			if got := renew(s, gateway, "none", row.by, leads); got != RenewalUnknown {
				t.Errorf("no connection: %d", got)
			}
			s.deadlines.forget(c)
		})
	}
}

// TestRenewedConnectionLives though it was to end at that very moment, because
// of its token or by hand; or it is not renewed.
func TestRenewedConnectionLives(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*Set, *Conn){
		"as it expires": func(*Set, *Conn) {},
		"as its token is revoked": func(s *Set, _ *Conn) {
			s.claimAll(func(c *Conn) bool { return c.authority.jti == "old" })
		},
		"as its key is taken out": func(s *Set, _ *Conn) {
			s.claimAll(func(c *Conn) bool { return c.authority.credentialName() == "key" })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				outcomes := make(map[Renewal]int)
				for range 500 {
					s := newSet()
					s.accept(access{"a:1", "key 2"})
					var ended atomic.Bool
					s.deadlines.end = func(*Conn) { ended.Store(true) }
					c := lone("g", "alice")
					c.member = "a:1"
					c.authority = (&token{jti: "old", credential: "key", expires: time.Now().Add(time.Second)}).authority()
					s.connections.add(c)
					s.deadlines.set(c, c.authority.expires)
					var outcome Renewal
					var both sync.WaitGroup
					both.Go(func() {
						elapse(time.Second)
						outcome = renew(s, "g", c.ID, &token{userID: "alice", jti: "new", credential: "key 2", expires: time.Now().Add(time.Hour)}, leadsAnywhere)
					})
					both.Go(func() { elapse(time.Second); end(s, c) })
					both.Wait()
					synctest.Wait()
					if gone := ended.Load() || c.leaving.Load(); gone == (outcome == Renewed) {
						t.Fatalf("renewal %d, and it has ended: %t", outcome, gone)
					}
					outcomes[outcome]++
					s.deadlines.forget(c)
				}
				t.Logf("renewed %d of 500", outcomes[Renewed])
			})
		})
	}
}

func TestRenewedConnectionStillBecomesTooOld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		s.Name("a:1")
		s.accept(access{"a:1", "key"})
		start := time.Now()
		c, client, backend := prepare(t, s, "a:1", "a:1", 0)
		c.UserID, c.TooOld = "alice", start.Add(2*time.Minute)
		c.authority = (&token{credential: "key", expires: start.Add(time.Minute)}).authority()
		live(s, c, client, backend)
		if got := renew(s, "test", c.ID, &token{userID: "alice", credential: "key", expires: start.Add(time.Hour)}, leadsAnywhere); got != Renewed {
			t.Fatalf("renew: %d", got)
		}
		if code := <-client.Code; code != 1012 || time.Since(start) != 2*time.Minute {
			t.Errorf("closed with %d after %s, want 1012 after 2m", code, time.Since(start))
		}
		<-backend.Code
	})
}
