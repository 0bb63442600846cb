package durable

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"
)

const (
	ringSize = 1024             // changes that a journal has: all of them are written for each
	stale    = 10 * time.Minute // what a journal has no more, and a journal that is garbage
)

// journal is what a process says of its changes. Seq counts all of them; Changes are
// the last of these.
type journal struct {
	At      time.Time `json:"at"`
	Seq     uint64    `json:"seq"`
	Ended   bool      `json:"ended,omitempty"` // nothing is attached any more
	Changes []ref     `json:"changes"`
}

func journalKey(id string) string { return root + "/" + nodes + "/" + id + suffix }

// openJournal returns the journal of an envelope.
func openJournal(sealed []byte) (journal, error) {
	var j journal
	record, err := open(sealed)
	if err != nil {
		return j, err
	}
	if json.Unmarshal(record, &j) != nil || uint64(len(j.Changes)) > j.Seq {
		return j, fmt.Errorf("%w: it is no journal", errDamaged)
	}
	return j, nil
}

// since returns the changes after the first seq, and whether these are all.
func (j journal) since(seq uint64) ([]ref, bool) {
	if seq > j.Seq || j.Seq-seq > uint64(len(j.Changes)) {
		return nil, false
	}
	return j.Changes[uint64(len(j.Changes))-(j.Seq-seq):], true
}

// ring has the last changes of this process.
type ring struct {
	Seq     uint64
	changes []ref
	times   []time.Time
}

func (r *ring) add(change ref, now time.Time) {
	r.Seq++
	r.changes, r.times = append(r.changes, change), append(r.times, now)
	r.trim(now)
}

// trim drops what the others know by now, or need everything for.
func (r *ring) trim(now time.Time) {
	old := max(0, len(r.changes)-ringSize)
	for old < len(r.times) && now.Sub(r.times[old]) > stale {
		old++
	}
	r.changes, r.times = r.changes[old:], r.times[old:]
}

// changed puts a change of a record into the journal, and returns the number of it.
func (b *Book) changed(r ref) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changes.add(r, time.Now())
	return b.changes.Seq
}

// journal returns what the journal of a vault is to say.
func (b *Book) journal(v *vault) journal {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.changes.trim(now)
	return journal{At: now, Seq: b.changes.Seq, Ended: b.current != v, Changes: append([]ref{}, b.changes.changes...)}
}

// seq returns how many changes there were.
func (b *Book) seq() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changes.Seq
}

// hasNews reports whether the journal is to be written: there is a change, or it has
// been long.
func (v *vault) hasNews() bool {
	seq := v.book.seq()
	v.mu.Lock()
	defer v.mu.Unlock()
	return seq > v.spoken || !v.wrote.IsZero() && time.Since(v.wrote) >= heartbeat
}

// tell writes a change into the journal before its caller is answered, so that the others
// know of it also where this process is killed then. One writing does for all the changes
// that wait for it, and for those of the next moment: of many in a row, the last ones are
// in the journal a moment later. Where it fails, it is tried again later.
func (v *vault) tell(ctx context.Context, change uint64) {
	if !v.mayTell() {
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, parting, errSlow)
	defer cancel()
	v.log(&v.journals, v.writeJournalFor(ctx, change))
}

// mayTell reports whether it has been a moment since a change was told.
func (v *vault) mayTell() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	if now.Sub(v.told) < moment {
		return false
	}
	v.told = now
	return true
}

// writeJournal writes the journal of this process.
func (v *vault) writeJournal(ctx context.Context) error {
	return v.writeJournalFor(ctx, math.MaxUint64)
}

// writeJournalFor writes the journal unless it has the change by now.
func (v *vault) writeJournalFor(ctx context.Context, change uint64) error {
	key := journalKey(v.book.id)
	t, err := v.turns.take(ctx, key)
	if err != nil {
		return err
	}
	defer t.end()
	if v.hasTold(change) {
		return nil
	}
	j := v.book.journal(v)
	record, err := json.Marshal(j)
	if err != nil {
		return err
	}
	sealed, _, err := seal(record)
	if err != nil {
		return err
	}
	if err := v.store(ctx, t, key, sealed); err != nil {
		return fmt.Errorf("writing %s: %w", key, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.wrote, v.spoken = j.At, j.Seq
	return nil
}

// hasTold reports whether the journal has a change.
func (v *vault) hasTold(change uint64) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.spoken >= change
}

// announce writes the first journal, before the first change: where a journal breaks
// off, the others know that there may have been changes which it does not have.
func (v *vault) announce(ctx context.Context) {
	if v.hasJournal() {
		return
	}
	t, err := v.turns.take(ctx, root)
	if err != nil {
		return
	}
	defer t.end()
	if !v.hasJournal() {
		_ = v.writeJournal(ctx) // or after the change
	}
}

// hasJournal reports whether this process has a journal in the storage.
func (v *vault) hasJournal() bool { return !v.lastWrote().IsZero() }

// lastWrote returns when the journal was written, or zero.
func (v *vault) lastWrote() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.wrote
}
