package durable

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
)

// files is a Storage that does what Caddy's own one does, which keeps files in a
// directory.
type files struct {
	dir    string
	unsafe bool // does not wait for the disk
}

func (s *files) name(key string) string { return filepath.Join(s.dir, filepath.FromSlash(key)) }

func (s *files) Store(_ context.Context, key string, value []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(s.name(key)), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(s.name(key)), "")
	if err != nil {
		return err
	}
	_, err = f.Write(value)
	if !s.unsafe {
		err = errors.Join(err, f.Sync())
	}
	return errors.Join(err, f.Close(), os.Rename(f.Name(), s.name(key)))
}

func (s *files) Load(_ context.Context, key string) ([]byte, error) { return os.ReadFile(s.name(key)) }

func (s *files) Delete(_ context.Context, key string) error { return os.RemoveAll(s.name(key)) }

func (s *files) List(ctx context.Context, prefix string, recursive bool) (keys []string, err error) {
	root := s.name(prefix)
	err = filepath.Walk(root, func(name string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		if name == root {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		suffix, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		keys = append(keys, path.Join(prefix, suffix))
		if !recursive && info.IsDir() {
			return filepath.SkipDir
		}
		return nil
	})
	return keys, err
}

// fill writes n records.
func (s *files) fill(t testing.TB, n int) {
	t.Helper()
	sealed, _, err := seal([]byte(`{"user":"somebody","until":"2030-01-01T00:00:00Z","reason":"a sentence that says why"}`))
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range ids(n) {
		if i < 16 {
			if err := os.MkdirAll(filepath.Dir(s.name(keyOf(id))), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(s.name(keyOf(id)), sealed, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFilesUnderManyWriters has processes write and delete while others list the same
// directories: what ends up in memory is what is stored.
func TestFilesUnderManyWriters(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var processes []*process
	for range 3 {
		p := idleProcess(t, nil)
		release := p.book.Attach(t.Context(), &files{dir, true}, p.logger)
		defer release()
		processes = append(processes, p)
	}
	var group sync.WaitGroup
	for n, p := range processes {
		group.Go(func() {
			for round := range 20 {
				for _, id := range ids(20) {
					p.shelf.set(id, quoted(fmt.Sprint(n, round)))
					if err := p.book.Put(t.Context(), "revocations", id, []byte(quoted(fmt.Sprint(n, round)))); err != nil {
						t.Error(err)
					}
				}
				if err := p.book.Delete(t.Context(), "revocations", ids(20)[round]); err != nil {
					t.Error(err)
				}
			}
		})
		group.Go(func() {
			for range 20 {
				if err := p.book.lastVault().pass(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	stored := &files{dir, true}
	for n, p := range processes {
		p.book.lastVault().want()
		if err := p.book.lastVault().pass(t.Context()); err != nil {
			t.Error(err)
		}
		for _, id := range ids(20) {
			have := ""
			if sealed, err := stored.Load(t.Context(), keyOf(id)); err == nil {
				data, err := open(sealed)
				if err != nil {
					t.Error(err)
				}
				have = string(data)
			}
			if in := p.shelf.copy()[id]; in != have {
				t.Errorf("process %d has %s as %s, and stored is %s", n, id, in, have)
			}
		}
		for _, entry := range p.logs.All() {
			if strings.Contains(entry.Message, "damaged") {
				t.Error(entry)
			}
		}
	}
}

func BenchmarkPut(b *testing.B) {
	for _, n := range []int{0, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := &files{dir: b.TempDir()}
			s.fill(b, n)
			book := New(map[string]Shelf{"revocations": newShelf()})
			release := book.Attach(b.Context(), s, zap.NewNop())
			defer release()
			for i := 0; b.Loop(); i++ {
				if err := book.Put(b.Context(), "revocations", fmt.Sprintf("%x0%x", i%16, i), []byte(`{"user":"x"}`)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAttach(b *testing.B) {
	s := &files{dir: b.TempDir()}
	s.fill(b, 100_000)
	for b.Loop() {
		shelf := newShelf()
		New(map[string]Shelf{"revocations": shelf}).Attach(b.Context(), s, zap.NewNop())()
		if n := len(shelf.copy()); n != 100_000 {
			b.Fatalf("%d records were loaded", n)
		}
	}
}
