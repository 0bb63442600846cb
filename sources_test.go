package wsgateway

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"
)

func TestSourceIsTheSameByWhatItLooksUp(t *testing.T) {
	t.Parallel()
	const a = `{"source":"a","name":"app","port":"80"}`
	for name, row := range map[string]struct {
		one, other string
		same       bool
	}{
		"order and white space":     {a, `{ "port": "80", "name": "app", "source": "a" }`, true},
		"refresh":                   {a, `{"source":"a","name":"app","port":"80","refresh":700000000}`, true},
		"timeouts of the lookup":    {a, `{"source":"a","name":"app","port":"80","dial_timeout":1,"dial_fallback_delay":2}`, true},
		"grace period of SRV":       {`{"source":"srv","name":"app"}`, `{"source":"srv","name":"app","grace_period":5}`, true},
		"refresh of one of several": {`{"source":"multi","sources":[` + a + `]}`, `{"source":"multi","sources":[{"source":"a","name":"app","port":"80","refresh":1}]}`, true},
		"another name":              {a, `{"source":"a","name":"other","port":"80"}`, false},
		"another port":              {a, `{"source":"a","name":"app","port":"81"}`, false},
		"another resolver":          {a, `{"source":"a","name":"app","port":"80","resolver":{"addresses":["10.0.0.1"]}}`, false},
		"one more":                  {`{"source":"multi","sources":[` + a + `]}`, `{"source":"multi","sources":[` + a + `,` + a + `]}`, false},
		"what others call refresh":  {`{"source":"other","refresh":1}`, `{"source":"other","refresh":2}`, false},
		"damaged":                   {`{`, `{{`, false},
	} {
		one, other := sourceMember(json.RawMessage(row.one)), sourceMember(json.RawMessage(row.other))
		if (one == other) != row.same {
			t.Errorf("%s: %s and %s", name, one, other)
		}
	}
}

// TestConnectionWaitsForASourceThatHasNotAnswered, of its own gateway, and is drained
// where the answer does not name its upstream.
func TestConnectionWaitsForASourceThatHasNotAnswered(t *testing.T) {
	t.Parallel()
	const before = "a:1" // or what else names it before the reload
	type answer struct {
		source    string
		addresses []string
	}
	for name, row := range map[string]struct {
		member  string
		sources map[string]string // after the reload, by name: of which gateway
		joins   []string          // beside the sources
		answers []answer
		waits   bool // before the answers
		stays   bool // after them
	}{
		"none":                          {before, nil, nil, nil, false, false},
		"from a list to a source":       {before, map[string]string{"d": "test"}, nil, []answer{{"d", []string{"b:1", "a:1"}}}, true, true},
		"one without it":                {before, map[string]string{"d": "test"}, nil, []answer{{"d", []string{"b:1"}}}, true, false},
		"from a source to another":      {"dynamic:old", map[string]string{"d": "test"}, nil, []answer{{"d", []string{"a:1"}}}, true, true},
		"another gateway's":             {before, map[string]string{"d": "other"}, nil, nil, false, false},
		"another gateway's, with both":  {before, map[string]string{"d": "test", "e": "other"}, nil, []answer{{"e", []string{"a:1"}}, {"d", []string{"b:1"}}}, true, true},
		"two of which one has it":       {before, map[string]string{"d": "test", "e": "test"}, nil, []answer{{"d", []string{"b:1"}}, {"e", []string{"a:1"}}}, true, true},
		"two of which none has it":      {before, map[string]string{"d": "test", "e": "test"}, nil, []answer{{"d", []string{"b:1"}}, {"e", []string{"b:1"}}}, true, false},
		"an answer without any":         {before, map[string]string{"d": "test"}, nil, []answer{{"d", nil}}, true, true},
		"a later one without it":        {before, map[string]string{"d": "test"}, nil, []answer{{"d", []string{"a:1"}}, {"d", []string{"b:1"}}}, true, true},
		"from a source to a list":       {"dynamic:old", nil, []string{"a:1"}, nil, true, true},
		"from a source to another list": {"dynamic:old", nil, []string{"b:1"}, nil, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newRegistry()
				_ = g.join(row.member)
				client, _ := open(t, g, "a:1", row.member, time.Second)
				for source, gateway := range row.sources {
					_ = g.join(source)
					g.joinSource(source, gateway, false)
				}
				for _, member := range row.joins {
					_ = g.join(member)
				}
				lives := func() bool {
					elapse(2 * time.Second)
					synctest.Wait()
					return len(g.list(func(*connection) bool { return true })) == 1
				}
				g.leave(row.member)
				if waits := lives(); waits != row.waits {
					t.Errorf("before any answer it lives: %t, want %t", waits, row.waits)
				}
				for _, a := range row.answers {
					g.answered(a.source, a.addresses)
				}
				if stays := lives(); stays != row.stays {
					t.Errorf("it lives: %t, want %t", stays, row.stays)
				}
				_ = client.Close()
				elapse(time.Minute)
			})
		})
	}
}

// TestConnectionPassesToWhatNamesItsUpstreamNow, so that the reloads after this one
// find it, and the credentials that lead there hold for it.
func TestConnectionPassesToWhatNamesItsUpstreamNow(t *testing.T) {
	t.Parallel()
	const key, elsewhere = "key 1", "c:1"
	for name, row := range map[string]struct {
		accepted []string // by whom its credential is accepted after the reload
		answer   []string // of the source
		code     int      // what the client gets after the next reload, which takes the credential from there
		member   string
	}{
		"to a list":                       {[]string{"a:1", elsewhere}, []string{"b:1"}, 3000, "a:1"},
		"to a source":                     {[]string{"dynamic:new", elsewhere}, []string{"a:1"}, 3000, "dynamic:new"},
		"to the one that accepts it":      {[]string{"dynamic:new", elsewhere}, []string{"a:1"}, 3000, "dynamic:new"},
		"to one that does not, and ended": {[]string{elsewhere}, []string{"a:1"}, 3000, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newRegistry()
				_ = g.join("dynamic:old")
				_ = g.accept("dynamic:old", key)
				c, client, backend := prepare(t, "a:1", "dynamic:old", time.Second)
				c.authority.credential = key
				live(g, c, client, backend)

				for _, member := range []string{"a:1", "dynamic:new", elsewhere} {
					_ = g.join(member)
				}
				g.joinSource("dynamic:new", "test", false)
				for _, member := range row.accepted {
					_ = g.accept(member, key)
				}
				g.leave("dynamic:old")
				g.withdraw("dynamic:old", key)
				g.answered("dynamic:new", row.answer)
				elapse(2 * time.Second)
				synctest.Wait()
				if row.member != "" {
					g.mu.Lock()
					member := c.member
					g.mu.Unlock()
					if member != row.member || len(client.code) != 0 {
						t.Errorf("it is at %s, and the client was told %d times that it is over", member, len(client.code))
					}
					g.withdraw(row.member, key)
				}
				if code := <-client.code; code != row.code {
					t.Errorf("the client got %d, want %d", code, row.code)
				}
				elapse(time.Minute)
			})
		})
	}
}

func TestSourceThatDependsOnTheRequestNeverDecides(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRegistry()
		_ = g.join("a:1")
		_ = g.join("dynamic:{x}")
		g.joinSource("dynamic:{x}", "test", true)
		client, _ := open(t, g, "a:1", "a:1", time.Second)
		g.leave("a:1")
		g.answered("dynamic:{x}", []string{"b:1"}) // to somebody else
		elapse(time.Minute)
		if len(client.code) != 0 || g.awaits("dynamic:{x}") {
			t.Error("an answer to one request decides about the connections of others")
		}
		g.leaveSource("dynamic:{x}", "test")
		g.leave("dynamic:{x}")
		if code := <-client.code; code != 1012 {
			t.Errorf("when it is gone the client got %d, want 1012", code)
		}
		elapse(time.Minute)
		if len(g.sources) != 0 {
			t.Errorf("%d sources are left", len(g.sources))
		}
	})
}
