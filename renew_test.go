package wsgateway

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
	byKey := func(user, issuer string, expires time.Time) *grant {
		return &grant{userID: user, issuer: issuer, credential: "key", jti: "new", expires: expires}
	}
	for name, row := range map[string]struct {
		user    string // whose the connection is
		stands  grant  // on what
		gateway string
		by      *grant
		leads   []string // credentials of the handler that is asked
		want    renewal
	}{
		"the same user":                      {user: "alice", stands: grant{credential: "key", expires: end}, by: byKey("alice", "", later), want: renewed},
		"a shorter life":                     {user: "alice", stands: grant{credential: "key", expires: later}, by: byKey("alice", "", end), want: renewed},
		"an end for the endless":             {user: "alice", stands: grant{credential: "bearer"}, by: byKey("alice", "", end), want: renewed},
		"the endless for the endless":        {user: "alice", stands: grant{credential: "bearer"}, by: byKey("alice", "", time.Time{}), want: renewed},
		"no end for one with an end":         {user: "alice", stands: grant{credential: "key", expires: end}, by: byKey("alice", "", time.Time{}), want: renewalWithoutAnEnd},
		"another user":                       {user: "alice", stands: grant{credential: "key"}, by: byKey("bob", "", end), want: renewalOtherUser},
		"a token without user":               {user: "alice", stands: grant{credential: "key"}, by: byKey("", "", end), want: renewalOtherUser},
		"nobody's connection":                {stands: grant{}, by: byKey("", "", end), want: renewalOtherUser},
		"the same issuer":                    {user: "1001", stands: grant{credential: "key", issuer: "a"}, by: byKey("1001", "a", end), want: renewed},
		"the ID of another issuer":           {user: "1001", stands: grant{credential: "key", issuer: "a"}, by: byKey("1001", "b", end), want: renewalOtherUser},
		"the issuer is said by one only":     {user: "alice", stands: grant{credential: "bearer"}, by: byKey("alice", "b", end), want: renewed},
		"another gateway":                    {user: "alice", stands: grant{credential: "key"}, gateway: "h", by: byKey("alice", "", end), want: renewalUnknown},
		"a handler that leads elsewhere":     {user: "alice", stands: grant{credential: "key"}, by: byKey("alice", "", end), leads: []string{"bearer"}, want: renewalElsewhere},
		"withdrawn meanwhile":                {user: "alice", stands: grant{credential: "key"}, by: &grant{userID: "alice", credential: "old"}, want: renewalElsewhere},
		"a handler that does not know hers":  {user: "alice", stands: grant{credential: "bearer"}, by: byKey("alice", "", end), leads: []string{"key"}, want: renewalOtherUser},
		"a handler in front that says alice": {user: "alice", stands: grant{credential: "key", expires: end}, by: &grant{userID: "alice", credential: inheritCredential}, leads: []string{inheritCredential}, want: renewalOtherUser},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRegistry()
			for _, credential := range []string{"key", "bearer", inheritCredential} {
				if err := g.accept("a:1", credential); err != nil {
					t.Fatal(err)
				}
			}
			c := lone("g", row.user)
			c.member = "a:1"
			before := newAuthority(&row.stands)
			c.authority = before
			g.connections[c.id] = c
			g.deadlines.set(c, c.endsBy(before.expires))
			due := c.due
			leads := func(_ *connection, credential string) bool {
				return row.leads == nil || slices.Contains(row.leads, credential)
			}
			gateway := "g"
			if row.gateway != "" {
				gateway = row.gateway
			}
			if got := g.renew(gateway, c.id, row.by, leads); got != row.want {
				t.Errorf("%d, want %d", got, row.want)
			}
			want := before
			if row.want == renewed {
				want = newAuthority(row.by)
			} else if c.due != due {
				t.Error("its end was moved")
			}
			if c.authority != want {
				t.Errorf("it stands on %+v, want %+v", c.authority, want)
			}
			if got := g.renew(gateway, "none", row.by, leads); got != renewalUnknown {
				t.Errorf("no connection: %d", got)
			}
			g.deadlines.forget(c)
		})
	}
}

// TestRenewedConnectionLives though it was to end at that very moment, because
// of its token or by hand; or it is not renewed.
func TestRenewedConnectionLives(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*registry, *connection){
		"as it expires": func(*registry, *connection) {},
		"as its token is revoked": func(g *registry, _ *connection) {
			g.claimAll(func(c *connection) bool { return c.authority.jti == "old" })
		},
		"as its key is taken out": func(g *registry, _ *connection) {
			g.claimAll(func(c *connection) bool { return c.authority.credential == "key" })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				outcomes := make(map[renewal]int)
				for range 500 {
					g := newRegistry()
					_ = g.accept("a:1", "key 2")
					var ended atomic.Bool
					g.deadlines.end = func(*connection) { ended.Store(true) }
					c := lone("g", "alice")
					c.member = "a:1"
					c.authority = newAuthority(&grant{jti: "old", credential: "key", expires: time.Now().Add(time.Second)})
					g.connections[c.id] = c
					g.deadlines.set(c, c.authority.expires)
					var outcome renewal
					var both sync.WaitGroup
					both.Go(func() {
						elapse(time.Second)
						outcome = g.renew("g", c.id, &grant{userID: "alice", jti: "new", credential: "key 2", expires: time.Now().Add(time.Hour)}, leadsAnywhere)
					})
					both.Go(func() { elapse(time.Second); end(g, c) })
					both.Wait()
					synctest.Wait()
					if gone := ended.Load() || c.leaving.Load(); gone == (outcome == renewed) {
						t.Fatalf("renewal %d, and it has ended: %t", outcome, gone)
					}
					outcomes[outcome]++
					g.deadlines.forget(c)
				}
				t.Logf("renewed %d of 500", outcomes[renewed])
			})
		})
	}
}

func TestRenewedConnectionStillBecomesTooOld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRegistry()
		_ = g.join("a:1")
		_ = g.accept("a:1", "key")
		start := time.Now()
		c, client, backend := prepare(t, "a:1", "a:1", 0)
		c.userID, c.tooOld = "alice", start.Add(2*time.Minute)
		c.authority = newAuthority(&grant{credential: "key", expires: start.Add(time.Minute)})
		live(g, c, client, backend)
		if got := g.renew("test", c.id, &grant{userID: "alice", credential: "key", expires: start.Add(time.Hour)}, leadsAnywhere); got != renewed {
			t.Fatalf("renew: %d", got)
		}
		if code := <-client.code; code != 1012 || time.Since(start) != 2*time.Minute {
			t.Errorf("closed with %d after %s, want 1012 after 2m", code, time.Since(start))
		}
		<-backend.code
	})
}
