package revocation

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

// model is what a list should do, said in the simplest way.
type model map[string]Revocation

func (m model) put(r Revocation) {
	if known, ok := m[r.ID]; ok {
		r.Created = known.Created
		if known.Until.After(r.Until) {
			r.Until = known.Until
		}
	}
	m[r.ID] = r
}

// inForce are the revocations that have not lapsed, in the order of their IDs.
func (m model) inForce() []Revocation {
	all := slices.SortedFunc(maps.Values(m), func(a, b Revocation) int { return cmp.Compare(a.ID, b.ID) })
	return slices.DeleteFunc(all, func(r Revocation) bool { return !time.Now().Before(r.Until) })
}

func (m model) refuses(c Credential) bool {
	for _, r := range m.inForce() {
		byGateway := r.Gateway == "" || r.Gateway == c.Gateway
		byToken := r.JTI != "" && r.JTI == c.JTI
		byUser := r.User != "" && r.User == c.User && (c.Issued == 0 || c.Issued <= r.IssuedBefore.Unix())
		if byGateway && (byToken || byUser) {
			return true
		}
	}
	return false
}

func (m model) lapse() (ids []string) {
	for id, r := range m {
		if !time.Now().Before(r.Until) {
			ids = append(ids, id)
			delete(m, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// randomCredential is one of few, so that several revocations meet.
func randomCredential(r *rand.Rand) Credential {
	some := func(names ...string) string { return names[r.IntN(len(names))] }
	c := Credential{Gateway: some("", "chat", "news"), User: some("", "alice", "bob"), JTI: some("", "1", "2", "3")}
	if r.IntN(4) > 0 {
		c.Issued = 1000 + r.Int64N(6)
	}
	return c
}

// randomRevocation covers a random credential, and others.
func randomRevocation(r *rand.Rand) Revocation {
	c := randomCredential(r)
	rev := Revocation{
		Gateway: c.Gateway, JTI: c.JTI, Code: 3000 + r.IntN(9), Created: time.Now(),
		Until: time.Now().Add(time.Duration(1+r.IntN(20)) * time.Second),
	}
	if c.JTI == "" || r.IntN(2) == 0 {
		rev.JTI, rev.User, rev.IssuedBefore = "", cmp.Or(c.User, "carol"), time.Unix(1000+r.Int64N(6), r.Int64N(1e9))
	}
	return rev.Identify()
}

func TestListDoesWhatTheModelDoes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 13)) // #nosec G404 -- to be repeated
				l, m := NewList(), model{}
				for step := range 1000 {
					stepBoth(t, r, l, m)
					compare(t, r, l, m)
					if t.Failed() {
						t.Fatalf("at step %d", step)
					}
				}
			})
		})
	}
}

// stepBoth does the same to the list and the model.
func stepBoth(t *testing.T, r *rand.Rand, l *List, m model) {
	t.Helper()
	switch r.IntN(10) {
	case 0, 1, 2:
		rev := randomRevocation(r)
		m.put(rev)
		if kept, err := l.Add(rev); err != nil || kept != m[rev.ID] {
			t.Errorf("kept is %+v (%v), want %+v", kept, err, m[rev.ID])
		}
	case 3:
		rev := randomRevocation(r)
		m.put(rev)
		if kept := l.Learn(rev); kept != m[rev.ID] {
			t.Errorf("kept is %+v, want %+v", kept, m[rev.ID])
		}
	case 4, 5:
		id := randomRevocation(r).ID
		delete(m, id)
		l.Remove(id)
	case 6, 7:
		bubble.Elapse(time.Duration(r.IntN(3000)) * time.Millisecond)
	case 8:
		if got, want := l.Lapse(time.Now()), m.lapse(); !slices.Equal(got, want) {
			t.Errorf("lapsed are %q, want %q", got, want)
		}
	}
}

func compare(t *testing.T, r *rand.Rand, l *List, m model) {
	t.Helper()
	for range 5 {
		c := randomCredential(r)
		switch found := l.Find(c); {
		case (found != nil) != m.refuses(c):
			t.Errorf("%+v: found %v, want one: %t", c, found, m.refuses(c))
		case found != nil && !model{found.ID: m[found.ID]}.refuses(c):
			t.Errorf("%+v: found %+v, which does not cover it", c, *found)
		}
	}
	want := m.inForce()
	got := l.Page("", len(want)+1, func(*Revocation) bool { return true })
	if len(got) != len(want) {
		t.Errorf("%d are listed, want %d", len(got), len(want))
		return
	}
	for i, r := range got {
		if *r != want[i] {
			t.Errorf("listed is %+v, want %+v", *r, want[i])
		}
	}
}
