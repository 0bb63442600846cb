package live

import (
	"testing"
	"testing/synctest"
	"time"
	"unique"
)

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
				s := newSet()
				s.Name(row.member)
				client, _ := open(t, s, "a:1", row.member, time.Second)
				for source, gateway := range row.sources {
					s.Name(source)
					s.Source(source, gateway, false)
				}
				for _, member := range row.joins {
					s.Name(member)
				}
				lives := func() bool {
					elapse(2 * time.Second)
					synctest.Wait()
					return len(s.list(func(*Conn) bool { return true })) == 1
				}
				s.unname(row.member)
				if waits := lives(); waits != row.waits {
					t.Errorf("before any answer it lives: %t, want %t", waits, row.waits)
				}
				for _, a := range row.answers {
					s.Answered(a.source, a.addresses)
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
				s := newSet()
				s.Name("dynamic:old")
				s.accept(access{"dynamic:old", key})
				c, client, backend := prepare(t, s, "a:1", "dynamic:old", time.Second)
				c.authority.credential = unique.Make(key)
				live(s, c, client, backend)

				for _, member := range []string{"a:1", "dynamic:new", elsewhere} {
					s.Name(member)
				}
				s.Source("dynamic:new", "test", false)
				for _, member := range row.accepted {
					s.accept(access{member, key})
				}
				s.unname("dynamic:old")
				s.withdraw(access{"dynamic:old", key})
				s.Answered("dynamic:new", row.answer)
				elapse(2 * time.Second)
				synctest.Wait()
				if row.member != "" {
					s.mu.Lock()
					member := c.member
					s.mu.Unlock()
					if member != row.member || len(client.Code) != 0 {
						t.Errorf("it is at %s, and the client was told %d times that it is over", member, len(client.Code))
					}
					s.withdraw(access{row.member, key})
				}
				if code := <-client.Code; code != row.code {
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
		s := newSet()
		s.Name("a:1")
		s.Name("dynamic:{x}")
		s.Source("dynamic:{x}", "test", true)
		client, _ := open(t, s, "a:1", "a:1", time.Second)
		s.unname("a:1")
		s.Answered("dynamic:{x}", []string{"b:1"}) // to somebody else
		elapse(time.Minute)
		if len(client.Code) != 0 || s.Awaits("dynamic:{x}") {
			t.Error("an answer to one request decides about the connections of others")
		}
		s.dropSource("dynamic:{x}", "test")
		s.unname("dynamic:{x}")
		if code := <-client.Code; code != 1012 {
			t.Errorf("when it is gone the client got %d, want 1012", code)
		}
		elapse(time.Minute)
		if len(s.sources) != 0 {
			t.Errorf("%d sources are left", len(s.sources))
		}
	})
}
