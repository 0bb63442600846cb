package revocation

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

// ofToken and ofUser are revocations that last an hour.
func ofToken(jti string) Revocation {
	return Revocation{JTI: jti, Until: time.Now().Add(time.Hour)}.Identify()
}

func ofUser(user string, before time.Time) Revocation {
	return Revocation{User: user, IssuedBefore: before, Until: time.Now().Add(time.Hour)}.Identify()
}

// on narrows a revocation to a gateway.
func (r Revocation) on(gateway string) Revocation {
	r.Gateway = gateway
	return r.Identify()
}

func TestRevocationCoversWhatItSays(t *testing.T) {
	t.Parallel()
	second := time.Unix(1_700_000_000, 0)
	at, before, after := second.Unix(), second.Unix()-1, second.Unix()+1
	for name, row := range map[string]struct {
		revoked Revocation
		refused []Credential
		good    []Credential
	}{
		"a token": {
			ofToken("t"),
			[]Credential{{JTI: "t"}, {JTI: "t", User: "alice", Gateway: "chat", Issued: after}},
			[]Credential{{}, {User: "t"}, {JTI: "T"}, {JTI: "u", User: "alice"}},
		},
		"a token on a gateway": {
			ofToken("t").on("chat"),
			[]Credential{{JTI: "t", Gateway: "chat"}},
			[]Credential{{JTI: "t"}, {JTI: "t", Gateway: "news"}},
		},
		"a user": {
			ofUser("alice", second),
			[]Credential{{User: "alice", Issued: before}, {User: "alice", Issued: at}, {User: "alice"}, {User: "alice", JTI: "t", Gateway: "chat", Issued: at}},
			[]Credential{{}, {JTI: "alice"}, {User: "Alice"}, {User: "bob"}, {User: "alice", Issued: after}},
		},
		"a user, within the second": {
			ofUser("alice", second.Add(999*time.Millisecond)),
			[]Credential{{User: "alice", Issued: at}},
			[]Credential{{User: "alice", Issued: after}},
		},
		"a user on a gateway": {
			ofUser("alice", second).on("chat"),
			[]Credential{{User: "alice", Issued: at, Gateway: "chat"}, {User: "alice", Gateway: "chat"}},
			[]Credential{{User: "alice", Issued: at}, {User: "alice", Issued: at, Gateway: "news"}, {User: "alice", Issued: after, Gateway: "chat"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := NewList()
			if _, err := l.Add(row.revoked); err != nil {
				t.Fatal(err)
			}
			for _, c := range row.refused {
				if r := l.Find(c); r == nil || r.ID != row.revoked.ID {
					t.Errorf("%+v is refused by %v, want by the revocation", c, r)
				}
			}
			for _, c := range row.good {
				if r := l.Find(c); r != nil {
					t.Errorf("%+v is refused by %+v", c, *r)
				}
			}
		})
	}
}

func TestIDIsOfWhatIsRevoked(t *testing.T) {
	t.Parallel()
	second := time.Unix(1_700_000_000, 0)
	zone := time.FixedZone("", 3600)
	same := ofUser("alice", second)
	for name, other := range map[string]Revocation{
		"the same":          ofUser("alice", second),
		"within the second": ofUser("alice", second.Add(time.Second-1)),
		"in another zone":   ofUser("alice", second.In(zone)),
		"another end, code": Revocation{User: "alice", IssuedBefore: second, Until: second, Code: 4000, Reason: "x", Created: second}.Identify(),
	} {
		if other.ID != same.ID {
			t.Errorf("%s: the ID is %s, want %s", name, other.ID, same.ID)
		}
	}
	ids := map[string]string{}
	for name, r := range map[string]Revocation{
		"user": same, "later": ofUser("alice", second.Add(time.Second)), "gateway": same.on("chat"), "token": ofToken("alice"),
		"token on a gateway": ofToken("alice").on("chat"), "a user with a date": ofUser(second.UTC().Format(time.RFC3339)+"\x00alice", second),
		"a user that looks like a token": ofUser("jti\x00alice", second), "a token that looks like a user": ofToken("user\x00" + second.UTC().Format(time.RFC3339) + "\x00alice"),
	} {
		if other, taken := ids[r.ID]; taken {
			t.Errorf("%s and %s have the same ID", name, other)
		}
		ids[r.ID] = name
		if !r.IsSound() {
			t.Errorf("%s is not sound", name)
		}
	}
	for name, spoil := range map[string]func(*Revocation){
		"both":                  func(r *Revocation) { r.JTI = "t" },
		"neither":               func(r *Revocation) { r.User = "" },
		"another user":          func(r *Revocation) { r.User = "bob" },
		"another ID":            func(r *Revocation) { r.ID = ofToken("t").ID },
		"no ID":                 func(r *Revocation) { r.ID = "" },
		"no end":                func(r *Revocation) { r.Until = time.Time{} },
		"no second":             func(r *Revocation) { r.IssuedBefore = time.Time{} },
		"a token with a date":   func(r *Revocation) { r.User, r.JTI = "", "t"; *r = r.Identify() },
		"a user and a token ID": func(r *Revocation) { r.JTI = "t"; *r = r.Identify() },
	} {
		r := same
		spoil(&r)
		if r.IsSound() {
			t.Errorf("%s: %+v is sound", name, r)
		}
	}
}

func TestSameRevocationAgainHasTheLaterEnd(t *testing.T) {
	t.Parallel()
	for name, put := range map[string]func(*List, Revocation) Revocation{
		"Add": func(l *List, r Revocation) Revocation {
			kept, err := l.Add(r)
			if err != nil {
				t.Error(err)
			}
			return kept
		},
		"Learn": (*List).Learn,
	} {
		l := NewList()
		first := ofToken("t")
		first.Code, first.Created = 3000, time.Unix(1, 0)
		put(l, first)
		for _, lasts := range []time.Duration{time.Minute, 2 * time.Hour, time.Hour} {
			again := first
			again.Until, again.Code, again.Created = time.Now().Add(lasts), 4000, time.Unix(2, 0)
			kept := put(l, again)
			if first.Until.Before(again.Until) {
				first.Until = again.Until
			}
			if got := l.Get(first.ID); kept != *got || !kept.Until.Equal(first.Until) || kept.Code != 4000 || !kept.Created.Equal(first.Created) {
				t.Errorf("%s, for %s: kept %+v, want until %s, with the code of the second", name, lasts, kept, first.Until)
			}
		}
		if page := l.Page("", 10, func(*Revocation) bool { return true }); len(page) != 1 {
			t.Errorf("%s: %d are listed, want one", name, len(page))
		}
	}
}

func TestRevocationLapses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewList()
		all := []Revocation{ofToken("t"), ofUser("alice", time.Now()), ofToken("u")}
		all[2].Until = all[2].Until.Add(time.Hour)
		for _, r := range all {
			if _, err := l.Add(r); err != nil {
				t.Fatal(err)
			}
		}
		credentials := []Credential{{JTI: "t"}, {User: "alice"}, {JTI: "u"}}
		check := func(when string, refused ...bool) {
			t.Helper()
			listed := l.Page("", 10, func(*Revocation) bool { return true })
			for i, c := range credentials {
				if got := l.Find(c) != nil; got != refused[i] {
					t.Errorf("%s, %+v: refused is %t", when, c, got)
				}
				if got := slices.ContainsFunc(listed, func(r *Revocation) bool { return r.ID == all[i].ID }); got != refused[i] {
					t.Errorf("%s, %+v: listed is %t", when, c, got)
				}
			}
		}
		bubble.Elapse(time.Hour - 1)
		check("before the end", true, true, true)
		bubble.Elapse(1)
		check("at the end", false, false, true)
		if l.Get(all[0].ID) == nil {
			t.Error("it is gone before Lapse")
		}
		want := []string{all[0].ID, all[1].ID}
		slices.Sort(want)
		if got := l.Lapse(time.Now()); !slices.Equal(got, want) {
			t.Errorf("lapsed are %q, want %q", got, want)
		}
		if l.Get(all[0].ID) != nil || l.Get(all[1].ID) != nil || l.Lapse(time.Now()) != nil {
			t.Error("what has lapsed is still there")
		}
		check("after Lapse", false, false, true)
	})
}

// TestFullListTakesNoMore, but what it has already, what another process has put in force,
// and what there is room for once others lapsed, whose IDs Lapse still returns.
func TestFullListTakesNoMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewList()
		l.most = 3
		add := func(r Revocation, want error) {
			t.Helper()
			if _, err := l.Add(r); !errors.Is(err, want) {
				t.Errorf("adding %s: %v, want %v", r.JTI, err, want)
			}
		}
		brief := ofToken("brief")
		brief.Until = time.Now().Add(time.Minute)
		add(brief, nil)
		add(ofToken("2"), nil)
		add(ofToken("3"), nil)
		add(ofToken("4"), ErrFull)
		add(ofToken("3"), nil)
		if l.Find(Credential{JTI: "4"}) != nil || l.Find(Credential{JTI: "3"}) == nil {
			t.Error("a revocation without room is in force, or one that had its place is not")
		}
		bubble.Elapse(time.Minute)
		add(ofToken("4"), nil)
		add(ofToken("5"), ErrFull)
		if got := l.Lapse(time.Now()); !slices.Equal(got, []string{brief.ID}) {
			t.Errorf("lapsed are %q, want the one that made room: its record is to be deleted", got)
		}
		add(ofToken("5"), ErrFull)
		l.Learn(ofToken("6"))
		if l.Find(Credential{JTI: "6"}) == nil {
			t.Error("what another process has put in force is not")
		}
		l.Remove(ofToken("2").ID)
		add(ofToken("5"), ErrFull) // 3, 4 and 6
		l.Remove(ofToken("3").ID)
		add(ofToken("5"), nil)
	})
}

func TestPagesFollowEachOther(t *testing.T) {
	t.Parallel()
	l := NewList()
	want := map[string]bool{}
	for i := range 3000 {
		r := ofToken(fmt.Sprint(i))
		if i%3 == 0 {
			r = ofUser("alice", time.Unix(int64(i), 0))
			want[r.ID] = true
		}
		if _, err := l.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	for _, limit := range []int{1, 7, 999, 1000, 1001} {
		var got []string
		for after := ""; ; {
			page := l.Page(after, limit, func(r *Revocation) bool { return r.User == "alice" })
			for _, r := range page {
				got = append(got, r.ID)
			}
			if len(page) < limit {
				break
			}
			after = page[limit-1].ID
		}
		if !slices.IsSorted(got) || len(got) != len(want) {
			t.Errorf("by %d: %d are listed, want %d, in order", limit, len(got), len(want))
		}
		for _, id := range got {
			if !want[id] {
				t.Errorf("by %d: %s is listed", limit, id)
			}
		}
	}
	for _, after := range []string{"zzzz", "not an id", "\xff"} {
		if page := l.Page(after, 10, func(*Revocation) bool { return true }); after > "g" && len(page) != 0 {
			t.Errorf("after %q: %d are listed", after, len(page))
		}
	}
}

// TestUnknownIDsAreNowhere, whatever their form.
func TestUnknownIDsAreNowhere(t *testing.T) {
	t.Parallel()
	l := NewList()
	r := ofToken("t")
	if _, err := l.Add(r); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", "0", "zz", "\xff\xff", r.ID[:19], r.ID + "0", r.ID[1:]} {
		if l.Get(id) != nil {
			t.Errorf("%q is there", id)
		}
		l.Remove(id)
	}
	if l.Get(r.ID) == nil || l.Find(Credential{JTI: "t"}) == nil {
		t.Error("removing unknown IDs removed another one")
	}
}
