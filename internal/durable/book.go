// Package durable keeps records that outlive the process, in a key-value storage that
// several processes may share. It does not know what a record says: records stand on
// shelves, which are in memory, and the package makes the shelves of all the processes
// say what the storage says.
//
// A record has a key of its own, so that writing one costs the same however many there
// are. Each process that writes keeps a journal beside the records, of what it has
// changed; the others read it every two seconds, and load what has changed.
package durable

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"
)

// Storage is what a Book needs of Caddy's storage. Load returns an error that is
// fs.ErrNotExist for a key that is not there.
type Storage interface {
	Store(ctx context.Context, key string, value []byte) error
	Load(ctx context.Context, key string) ([]byte, error)
	Delete(ctx context.Context, key string) error
	List(ctx context.Context, prefix string, recursive bool) ([]string, error)
}

// Shelf is one kind of record, in memory. A Shelf is safe for concurrent use, and calls
// no Book while it holds a lock that Learn or Forget takes.
type Shelf interface {
	// Learn takes a record as the storage has it: a new one, a changed one, or one
	// that the Shelf has already. It replaces what the Shelf has under that id. It
	// returns ErrLapsed where the record is over, and may be deleted from the storage,
	// and another error where the record is damaged. It does not change data. Where the
	// Shelf keeps more than data says, kept is that, to be stored in its place.
	Learn(id string, data []byte) (kept []byte, err error)

	// Forget drops a record that has been deleted from the storage.
	Forget(id string)

	// All returns what is in memory, for a storage that does not have it yet.
	All() iter.Seq2[string, []byte]

	// Lapse drops what is over by now, and returns the ids of that.
	Lapse(now time.Time) []string
}

var (
	// ErrLapsed is what Learn returns for a record that is over.
	ErrLapsed = errors.New("the record is over")

	// ErrNoStorage is what Put and Delete return while nothing is attached.
	ErrNoStorage = errors.New("no storage is attached")
)

// timeout bounds every call to a storage, and with it Put and Delete.
const timeout = 10 * time.Second

// Book keeps the shelves of one process.
type Book struct {
	id      string // what this process is called in the storage; another one after each start
	shelves map[string]Shelf

	writes health

	mu      sync.Mutex
	mounts  []*mount // what is attached, the newest last
	current *vault   // nil while nothing is attached
	last    *vault   // was current at last
	turns   uint64   // orders the calls of Put and Delete
	writing map[ref]writers
	debts   map[ref]unwritten
	changes ring

	carrying int              // how many carry memory to a storage
	touched  map[ref]struct{} // put or deleted meanwhile
}

// New returns a Book of shelves, by the names that the keys in the storage have. There
// is one Book in a process.
func New(shelves map[string]Shelf) *Book {
	for name := range shelves {
		if !fits(name) || name == nodes || name == damaged {
			panic("durable: a shelf cannot be named " + name)
		}
	}
	id := make([]byte, 16)
	rand.Read(id) // never fails
	return &Book{
		id:      hex.EncodeToString(id),
		shelves: shelves,
		turns:   carried,
		writing: map[ref]writers{},
		debts:   map[ref]unwritten{},
	}
}

// Put writes a record, which the caller has put in force in memory; it teaches it to
// the shelf again, so that memory ends up as the storage is where several write the
// same record. data is JSON. The record outlives the process once Put returns nil.
// Where Put fails with what is not ErrNoStorage or about the record itself, it is
// tried again until it is written.
func (b *Book) Put(ctx context.Context, shelf, id string, data []byte) error {
	r, err := b.refer(shelf, id)
	if err != nil {
		return err
	}
	sealed, record, err := seal(data)
	if err != nil {
		return err
	}
	ctx, cancel := patient(ctx)
	defer cancel()
	return b.settle(r, func(v *vault, turn uint64) error {
		return v.put(ctx, r, unwritten{turn, record, sealed}, false)
	})
}

// Delete deletes a record from the storage, and then has the shelf forget it. Where it
// fails, nothing has changed, and nothing is tried again.
func (b *Book) Delete(ctx context.Context, shelf, id string) error {
	r, err := b.refer(shelf, id)
	if err != nil {
		return err
	}
	ctx, cancel := patient(ctx)
	defer cancel()
	return b.settle(r, func(v *vault, turn uint64) error {
		return v.delete(ctx, r, turn)
	})
}

// patient returns the context of a change, which goes on where its caller has gone: whether
// it was done is known then.
func patient(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.WithoutCancel(ctx), timeout, errSlow)
}

// settle has write done in the current vault, and again where that is another one by
// then, unless the record was put or deleted once more.
func (b *Book) settle(r ref, write func(v *vault, turn uint64) error) error {
	turn := b.enter(r)
	defer b.leave(r)
	var done *vault
	for {
		v, isLast := b.target(r, turn)
		switch {
		case done != nil && (v == nil || v == done || !isLast):
			return nil
		case v == nil:
			return ErrNoStorage
		}
		if err := write(v, turn); err != nil {
			return err
		}
		done = v
	}
}

// writers are the calls of Put and Delete for one record that have not returned.
type writers struct {
	number int
	last   uint64 // the turn of the last one
}

// enter returns the turn of a call of Put or Delete.
func (b *Book) enter(r ref) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turns++
	w := b.writing[r]
	b.writing[r] = writers{w.number + 1, b.turns}
	return b.turns
}

func (b *Book) leave(r ref) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.writing[r]
	if w.number--; w.number == 0 {
		delete(b.writing, r)
	} else {
		b.writing[r] = w
	}
}

// target returns the current vault, and whether the turn is the last of a record.
func (b *Book) target(r ref, turn uint64) (*vault, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.carrying > 0 {
		b.touched[r] = struct{}{}
	}
	return b.current, b.writing[r].last == turn
}

// refer returns what shelf and id name.
func (b *Book) refer(shelf, id string) (ref, error) {
	if b.shelves[shelf] == nil {
		return ref{}, fmt.Errorf("there is no shelf %q", shelf)
	}
	if !fits(id) {
		return ref{}, fmt.Errorf("the id %q is not of 1 to %d digits and lower-case letters", id, maxID)
	}
	return ref{shelf, id}, nil
}
