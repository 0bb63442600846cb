package durable

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

var errInjected = errors.New("the storage is out of order")

// disk is what is stored, by several instances and processes.
type disk struct {
	mu    sync.Mutex
	files map[string][]byte
}

func newDisk() *disk { return &disk{files: map[string][]byte{}} }

func (d *disk) keys(prefix string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var keys []string
	for key := range d.files {
		if strings.HasPrefix(key, prefix+"/") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func (d *disk) get(key string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.files[key]
}

func (d *disk) set(key, value string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files[key] = []byte(value)
}

func (d *disk) unset(key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.files, key)
}

// access is a Storage. before is called before each operation, without a lock, and may
// fail or hang; after likewise, when it is done.
type access struct {
	disk *disk

	mu            sync.Mutex
	before, after func(ctx context.Context, operation, key string) error
	count         map[string]int
}

func (a *access) inject(before func(ctx context.Context, operation, key string) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.before = before
}

func (a *access) counted(operation string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count[operation]
}

func (a *access) hooks(operation string) (before, after func(context.Context, string, string) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.count == nil {
		a.count = map[string]int{}
	}
	a.count[operation]++
	return a.before, a.after
}

func (a *access) do(ctx context.Context, operation, key string, f func() error) error {
	before, after := a.hooks(operation)
	if before != nil {
		if err := before(ctx, operation, key); err != nil {
			return err
		}
	}
	err := f()
	if after != nil {
		if err := after(ctx, operation, key); err != nil {
			return err
		}
	}
	return err
}

func (a *access) Store(ctx context.Context, key string, value []byte) error {
	return a.do(ctx, "store", key, func() error { a.disk.set(key, string(value)); return nil })
}

func (a *access) Load(ctx context.Context, key string) (value []byte, err error) {
	err = a.do(ctx, "load", key, func() error {
		if value = a.disk.get(key); value == nil {
			return &fs.PathError{Op: "open", Path: "/" + key, Err: fs.ErrNotExist}
		}
		return nil
	})
	return slices.Clone(value), err
}

func (a *access) Delete(ctx context.Context, key string) error {
	return a.do(ctx, "delete", key, func() error { a.disk.unset(key); return nil })
}

func (a *access) List(ctx context.Context, prefix string, _ bool) (keys []string, err error) {
	err = a.do(ctx, "list", prefix, func() error {
		if keys = a.disk.keys(prefix); len(keys) == 0 {
			return &fs.PathError{Op: "lstat", Path: filepath.FromSlash("/" + prefix), Err: fs.ErrNotExist}
		}
		return nil
	})
	return keys, err
}

// shelf holds records that are a JSON string. "lapsed" is over, and "bad" no record;
// "less" does not take the place of "more".
type shelf struct {
	mu      sync.Mutex
	records map[string]string
	over    []string // for Lapse
}

func newShelf() *shelf { return &shelf{records: map[string]string{}} }

func (s *shelf) Learn(id string, data []byte) (kept []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch string(data) {
	case `"lapsed"`:
		return nil, ErrLapsed
	case `"bad"`:
		return nil, errors.New("no record")
	case `"panic"`:
		panic("a shelf of the test")
	case `"less"`:
		if known := s.records[id]; known == `"more"` {
			return []byte(known), nil
		}
	}
	s.records[id] = string(data)
	return nil, nil
}

func (s *shelf) Forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.records, id)
}

func (s *shelf) All() iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for id, data := range s.copy() {
			if !yield(id, []byte(data)) {
				return
			}
		}
	}
}

func (s *shelf) Lapse(time.Time) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	over := s.over
	s.over = nil
	for _, id := range over {
		delete(s.records, id)
	}
	return over
}

func (s *shelf) copy() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.records)
}

func (s *shelf) set(id, data string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[id] = data
}

func (s *shelf) lapse(ids ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = ids
}

// process is a Book with one shelf and one storage.
type process struct {
	t       *testing.T
	book    *Book
	shelf   *shelf
	access  *access
	logs    *observer.ObservedLogs
	logger  *zap.Logger
	release func()
}

// newProcess returns a process that uses a disk until it is released.
func newProcess(t *testing.T, d *disk) *process {
	t.Helper()
	p := idleProcess(t, d)
	p.attach()
	return p
}

// idleProcess returns a process that has nothing attached.
func idleProcess(t *testing.T, d *disk) *process {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	p := &process{t: t, shelf: newShelf(), access: &access{disk: d}, logs: logs, logger: zap.New(core)}
	p.book = New(map[string]Shelf{"revocations": p.shelf})
	return p
}

func (p *process) attach() { p.release = p.book.Attach(p.t.Context(), p.access, p.logger) }

// reload attaches another instance and releases the one before.
func (p *process) reload(d *disk) {
	old := p.release
	p.access = &access{disk: d}
	p.attach()
	old()
}

// put puts a record in force and writes it.
func (p *process) put(id, data string) error {
	p.shelf.set(id, quoted(data))
	return p.book.Put(p.t.Context(), "revocations", id, []byte(quoted(data)))
}

func (p *process) mustPut(id, data string) {
	p.t.Helper()
	if err := p.put(id, data); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) mustDelete(id string) {
	p.t.Helper()
	if err := p.book.Delete(p.t.Context(), "revocations", id); err != nil {
		p.t.Fatal(err)
	}
}

// wantRecords fails unless memory has just these records, as id=data.
func (p *process) wantRecords(want ...string) {
	p.t.Helper()
	var have []string
	for id, data := range p.shelf.copy() {
		have = append(have, id+"="+strings.Trim(data, `"`))
	}
	slices.Sort(have)
	if !slices.Equal(have, want) {
		p.t.Errorf("in memory are %q, want %q", have, want)
	}
}

// wantLogs fails unless the log has just these levels.
func (p *process) wantLogs(want ...zapcore.Level) {
	p.t.Helper()
	var have []zapcore.Level
	for _, entry := range p.logs.All() {
		have = append(have, entry.Level)
	}
	if !slices.Equal(have, want) {
		p.t.Errorf("the log has %v, want levels %v", p.logs.All(), want)
	}
}

func quoted(s string) string { return `"` + s + `"` }

func keyOf(id string) string { return path.Join("ws_gateway/revocations", id[:1], id+".json") }

// record returns what is stored for data.
func record(t *testing.T, data string) string {
	t.Helper()
	sealed, _, err := seal([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return string(sealed)
}

// wantStored fails unless a disk has just these records, as id=data.
func wantStored(t *testing.T, d *disk, want ...string) {
	t.Helper()
	var have []string
	for _, key := range d.keys("ws_gateway/revocations") {
		data, err := open(d.get(key))
		if err != nil {
			t.Errorf("%s: %v", key, err)
		}
		have = append(have, strings.TrimSuffix(path.Base(key), ".json")+"="+strings.Trim(string(data), `"`))
	}
	slices.Sort(have)
	if !slices.Equal(have, want) {
		t.Errorf("stored are %q, want %q", have, want)
	}
}

func ids(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%x%06x", i%16, i)
	}
	return ids
}

// failing fails operations of these names.
func failing(operations ...string) func(context.Context, string, string) error {
	return func(_ context.Context, operation, _ string) error {
		if slices.Contains(operations, operation) {
			return errInjected
		}
		return nil
	}
}
