package revocation

import (
	"cmp"
	"errors"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Most is how many revocations a list takes.
const Most = 100_000

// ErrFull is the answer to a revocation for which there is no room.
var ErrFull = errors.New("there are as many revocations as there may be: delete some, or give them an earlier end")

// List is the revocations that are in force. It is safe for concurrent use.
type List struct {
	most int

	// size spares those who ask a list without revocations the lock.
	size atomic.Int64

	mu     sync.RWMutex // guards what follows; the revocations themselves do not change
	byID   buckets
	byJTI  map[subject][]*Revocation
	byUser map[subject][]*Revocation // of each user, the latest IssuedBefore first
}

// subject is what a revocation is of: a token or a user, at a gateway or, with an empty
// one, at all of them.
type subject struct{ gateway, name string }

// NewList returns an empty list.
func NewList() *List {
	return &List{most: Most, byJTI: make(map[subject][]*Revocation), byUser: make(map[subject][]*Revocation)}
}

// Find returns the revocation that refuses the credential; nil for none.
func (l *List) Find(c Credential) *Revocation {
	if l.size.Load() == 0 {
		return nil
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if r := l.findLocked("", c); r != nil || c.Gateway == "" {
		return r
	}
	return l.findLocked(c.Gateway, c)
}

// findLocked is Find among the revocations for a gateway.
func (l *List) findLocked(gateway string, c Credential) *Revocation {
	byJTI, byUser := l.byJTI[subject{gateway, c.JTI}], l.byUser[subject{gateway, c.User}]
	if len(byJTI)+len(byUser) == 0 {
		return nil
	}
	now := time.Now()
	for _, r := range byJTI {
		if r.Covers(c) && !r.Over(now) {
			return r
		}
	}
	for _, r := range byUser {
		if c.Issued > r.IssuedBefore.Unix() {
			return nil // so it is for the others
		}
		if r.Covers(c) && !r.Over(now) {
			return r
		}
	}
	return nil
}

// Add puts a revocation in force, and returns it as it is kept: where it was in force
// already, the later end counts. The error is ErrFull.
func (l *List) Add(r Revocation) (Revocation, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byID.get(r.ID) == nil && l.fullLocked(time.Now()) {
		return r, ErrFull
	}
	return l.putLocked(r), nil
}

// fullLocked reports whether as many revocations as there may be are not over. It leaves
// those that are over to Lapse, which says what is to be deleted from the storage.
func (l *List) fullLocked(now time.Time) bool {
	left := l.most - int(l.size.Load())
	for _, some := range l.byID {
		if left > 0 {
			return false
		}
		for _, r := range some {
			if r.Over(now) {
				left++
			}
		}
	}
	return left <= 0
}

// Learn is Add for a revocation that another process, or one before this, has put in
// force, however many there are.
func (l *List) Learn(r Revocation) Revocation {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.putLocked(r)
}

// putLocked takes the place of a revocation with the same ID.
func (l *List) putLocked(r Revocation) Revocation {
	if known := l.byID.get(r.ID); known != nil {
		r = r.mergedInto(known)
		l.dropLocked(known)
	}
	kept := &r
	l.byID.put(kept)
	l.size.Add(1)
	if r.JTI != "" {
		of := subject{r.Gateway, r.JTI}
		l.byJTI[of] = append(l.byJTI[of], kept)
		return r
	}
	of := subject{r.Gateway, r.User}
	others := l.byUser[of]
	at, _ := slices.BinarySearchFunc(others, kept, func(a, b *Revocation) int { return b.IssuedBefore.Compare(a.IssuedBefore) })
	l.byUser[of] = slices.Insert(others, at, kept)
	return r
}

func (l *List) dropLocked(r *Revocation) {
	l.byID.drop(r.ID)
	l.size.Add(-1)
	is := func(other *Revocation) bool { return other == r }
	if r.JTI != "" {
		dropFrom(l.byJTI, subject{r.Gateway, r.JTI}, is)
		return
	}
	dropFrom(l.byUser, subject{r.Gateway, r.User}, is)
}

// dropFrom removes the revocations of a subject that go, and the subject with its last one.
func dropFrom(index map[subject][]*Revocation, of subject, goes func(*Revocation) bool) {
	left := slices.DeleteFunc(index[of], goes)
	if len(left) == 0 {
		delete(index, of)
		return
	}
	index[of] = left
}

// Get returns the revocation with the ID, which may be over; nil for none.
func (l *List) Get(id string) *Revocation {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.byID.get(id)
}

// Remove puts the revocation with the ID out of force.
func (l *List) Remove(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.byID.get(id); known != nil {
		l.dropLocked(known)
	}
}

// Lapse removes the revocations that are over, and returns their IDs.
func (l *List) Lapse(now time.Time) (ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	over := func(r *Revocation) bool { return r.Over(now) }
	for i, some := range l.byID {
		for _, r := range some {
			if over(r) {
				ids = append(ids, r.ID)
			}
		}
		l.byID[i] = slices.DeleteFunc(some, over)
	}
	if len(ids) == 0 {
		return nil
	}
	l.size.Add(-int64(len(ids)))
	for _, index := range []map[subject][]*Revocation{l.byJTI, l.byUser} {
		for of := range index {
			dropFrom(index, of, over)
		}
	}
	return ids
}

// All returns the revocations, those that are over among them.
func (l *List) All() iter.Seq[*Revocation] {
	return func(yield func(*Revocation) bool) {
		for i := range l.byID {
			for _, r := range l.bucket(i) {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// InForce counts the revocations that are not over. The lock is held only for a few at a
// time.
func (l *List) InForce() (n int) {
	if l.size.Load() == 0 {
		return 0
	}
	now := time.Now()
	for r := range l.All() {
		if !r.Over(now) {
			n++
		}
	}
	return n
}

// Page returns up to limit revocations that match, in the order of their IDs, from the
// first after an ID on; those that are over are left out. The lock is held only for a
// few at a time.
func (l *List) Page(after string, limit int, match func(*Revocation) bool) []*Revocation {
	var page []*Revocation
	now := time.Now()
	for r := range l.All() {
		switch {
		case len(page) >= limit:
			return page
		case r.ID > after && !r.Over(now) && match(r):
			page = append(page, r)
		}
	}
	return page
}

func (l *List) bucket(i int) []*Revocation {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return slices.Clone(l.byID[i])
}

// buckets are revocations in the order of their IDs, in a bucket for each first byte, so
// that what is put in between moves few others.
type buckets [256][]*Revocation

// find returns the bucket for an ID, which must be one that [Revocation.Identify] makes,
// and the place in it.
func (s *buckets) find(id string) (bucket *[]*Revocation, at int, found bool) {
	bucket = &s[digit(id, 0)<<4|digit(id, 1)]
	at, found = slices.BinarySearchFunc(*bucket, id, func(r *Revocation, id string) int { return cmp.Compare(r.ID, id) })
	return bucket, at, found
}

// digit is the value of a hexadecimal digit; 0 where there is none.
func digit(id string, at int) int {
	switch {
	case at >= len(id):
		return 0
	case id[at] >= 'a' && id[at] <= 'f':
		return int(id[at]-'a') + 10
	case id[at] >= '0' && id[at] <= '9':
		return int(id[at] - '0')
	}
	return 0
}

func (s *buckets) get(id string) *Revocation {
	if bucket, at, found := s.find(id); found {
		return (*bucket)[at]
	}
	return nil
}

func (s *buckets) put(r *Revocation) {
	bucket, at, _ := s.find(r.ID)
	*bucket = slices.Insert(*bucket, at, r)
}

func (s *buckets) drop(id string) {
	if bucket, at, found := s.find(id); found {
		*bucket = slices.Delete(*bucket, at, at+1)
	}
}
