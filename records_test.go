package wsgateway

import (
	"context"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/durable"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/revocation"
)

// memoryStorage is a storage that is gone with the test.
type memoryStorage struct {
	mu   sync.Mutex
	keys map[string]string
}

// Store implements durable.Storage.
func (s *memoryStorage) Store(_ context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		s.keys = make(map[string]string)
	}
	s.keys[key] = string(value)
	return nil
}

// Load implements durable.Storage.
func (s *memoryStorage) Load(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.keys[key]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(value), nil
}

// Delete implements durable.Storage.
func (s *memoryStorage) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, key)
	return nil
}

// List implements durable.Storage.
func (s *memoryStorage) List(_ context.Context, prefix string, _ bool) (found []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.keys {
		if strings.HasPrefix(key, prefix+"/") {
			found = append(found, key)
		}
	}
	return found, nil
}

// keepRecords gives the records of the process a storage for the test.
func keepRecords(t *testing.T) {
	t.Helper()
	t.Cleanup(kept.book.Attach(context.Background(), new(memoryStorage), zap.NewNop()))
}

// TestLaterEndOfARevocationIsWhatIsStored has an earlier end come to the storage after a
// later one was answered.
func TestLaterEndOfARevocationIsWhatIsStored(t *testing.T) {
	t.Parallel()
	storage := new(memoryStorage)
	k := newRecords(live.NewSet(live.Reports{}, func() bool { return false }))
	defer k.book.Attach(t.Context(), storage, zap.NewNop())()
	now := time.Now()
	early := revocation.Revocation{JTI: "stolen", Created: now, Until: now.Add(time.Hour)}.Identify()
	late := revocation.Revocation{JTI: "stolen", Created: now, Until: now.Add(24 * time.Hour)}.Identify()
	for _, r := range []revocation.Revocation{late, early} {
		k.set.Revocations.Learn(r)
		if err := k.put(t.Context(), revocationRecords, r.ID, r); err != nil {
			t.Fatal(err)
		}
	}
	again := newRecords(live.NewSet(live.Reports{}, func() bool { return false }))
	defer again.book.Attach(t.Context(), storage, zap.NewNop())()
	if r := again.set.Revocations.Get(late.ID); r == nil || !r.Until.Equal(late.Until) {
		t.Errorf("after a restart there is %+v, want an end at %s", r, late.Until)
	}
}

// TestOlderRecordOfTheFleetIsNotWrittenOverWhatAnOperatorSays after it was learned.
func TestOlderRecordOfTheFleetIsNotWrittenOverWhatAnOperatorSays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newRecords(live.NewSet(live.Reports{}, func() bool { return false }))
		var written []string
		goOn := make(chan struct{})
		write := func(name recordName, _ []byte) {
			<-goOn
			written = append(written, name.id)
		}
		k.later.add(recordName{stateRecords, "slow"}, nil, write)
		synctest.Wait()
		state := upstreamState{Address: "a:1"}
		k.keepSoon(stateRecords, state.id(), []byte("older"))
		k.keepSoon(revocationRecords, "a1", []byte("older"))
		k.keepSoon(stateRecords, "another", []byte("older"))
		_, _ = k.setState(t.Context(), "a:1", balance.Drain), k.pardon(t.Context(), "a1") // there is no storage, of which the errors are
		close(goOn)
		synctest.Wait()
		if want := []string{"slow", "another"}; !slices.Equal(written, want) {
			t.Errorf("written were %q, want %q", written, want)
		}
		k.later.add(recordName{stateRecords, "next"}, nil, write)
		synctest.Wait()
		if len(written) != 3 {
			t.Error("nothing is written any more")
		}
	})
}

// Interface guards
var _ durable.Storage = (*memoryStorage)(nil)
