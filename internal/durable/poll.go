package durable

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"
)

// cursor is how far the journal of another process was read.
type cursor struct {
	seq   uint64
	at    time.Time // what the journal says
	seen  time.Time // when it began to say so
	ended bool
}

// hear reads the journals of the others, and loads what has changed.
func (v *vault) hear(ctx context.Context) {
	v.log(&v.polls, v.poll(ctx))
}

// poll is hear. The first time, it only notes how far the journals are: a pass that
// begins afterwards finds all of that in the storage. One journal that cannot be read holds
// up no other: once it can be, it says what was missed, or that it does not know.
func (v *vault) poll(ctx context.Context) error {
	t, err := v.turns.take(ctx, root+"/"+nodes)
	if err != nil {
		return err
	}
	defer t.end()
	now := time.Now()
	names, err := v.list(ctx, root+"/"+nodes)
	if err != nil {
		return fmt.Errorf("listing the journals: %w", err)
	}
	if last := v.lastHeard(); !last.IsZero() && now.Sub(last) > stale {
		v.want()
	}
	v.forgetGone(names)
	var group errs
	each(ctx, names, func(name string) {
		if name != v.book.id {
			group.add(v.read(ctx, name, now))
		}
	})
	v.heard(now)
	return group.join(ctx)
}

// forgetGone drops the journals that are gone. One that had not ended may have ended in
// the middle of a change.
func (v *vault) forgetGone(names []string) {
	there := make(map[string]bool, len(names))
	for _, name := range names {
		there[name] = true
	}
	for name, c := range v.allCursors() {
		if !there[name] {
			v.drop(name, c)
		}
	}
}

// read reads the journal of another process.
func (v *vault) read(ctx context.Context, name string, now time.Time) error {
	j, err := v.loadJournal(ctx, name)
	if err != nil || j == nil {
		return err
	}
	c, known := v.cursor(name)
	next := cursor{j.Seq, j.At, c.seen, j.Ended}
	if !known || !c.at.Equal(j.At) {
		next.seen = now
	} else {
		next.ended = c.ended
	}
	// Clocks differ: a journal is garbage where it also has not changed here.
	if now.Sub(j.At) > stale && now.Sub(next.seen) > heartbeat+time.Minute && v.isCleaning() {
		v.bury(name, next)
		v.erase(ctx, journalKey(name))
		return nil
	}
	if !v.lastHeard().IsZero() {
		changes, all := j.since(c.seq)
		if !all {
			v.want()
		} else if err := v.fetchAll(ctx, v.refs(changes)); err != nil {
			return err
		}
	}
	v.setCursor(name, next)
	return nil
}

// loadJournal returns nil for a journal that is not there, or that this version cannot
// read.
func (v *vault) loadJournal(ctx context.Context, name string) (*journal, error) {
	key := journalKey(name)
	for try := range 2 {
		sealed, err := v.load(ctx, key)
		if isMissing(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("loading %s: %w", key, err)
		}
		j, err := openJournal(sealed)
		switch {
		case err == nil:
			return &j, nil
		case errors.Is(err, errNewer):
			v.sawNewer(key)
			return nil, nil
		case try == 0:
			pause(ctx, torn)
		}
	}
	if v.isCleaning() {
		isSound := func(_ *turn, value []byte) bool { _, err := openJournal(value); return err == nil }
		if _, news := v.setAside(ctx, key, nodes+"-"+name, isSound); news {
			v.report([]string{key})
			v.want() // it may have said anything
		}
	}
	return nil, nil
}

// refs returns what this version knows of changes, each once.
func (v *vault) refs(changes []ref) []ref {
	seen := map[ref]bool{}
	var refs []ref
	for _, r := range changes {
		if v.book.shelves[r.Shelf] != nil && fits(r.ID) && !seen[r] {
			seen[r] = true
			refs = append(refs, r)
		}
	}
	return refs
}

func (v *vault) allCursors() map[string]cursor {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.cursors)
}

func (v *vault) cursor(name string) (cursor, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c, known := v.cursors[name]
	return c, known
}

func (v *vault) setCursor(name string, c cursor) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cursors[name] = c
}

// drop forgets a journal.
func (v *vault) drop(name string, c cursor) {
	if !c.ended {
		v.want()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.cursors, name)
}

// bury notes that a journal will say no more.
func (v *vault) bury(name string, c cursor) {
	if !c.ended {
		v.want()
	}
	c.ended = true
	v.setCursor(name, c)
}

// erase deletes a key if it can be.
func (v *vault) erase(ctx context.Context, key string) {
	t, err := v.turns.take(ctx, key)
	if err != nil {
		return
	}
	defer t.end()
	_ = v.remove(ctx, t, key) // the next poll tries again
}

// heard notes when the journals were read.
func (v *vault) heard(now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.polled = now
}

// lastHeard returns when the journals were read, or zero.
func (v *vault) lastHeard() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.polled
}
