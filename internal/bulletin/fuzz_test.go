package bulletin

import (
	"context"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
	"github.com/wsgateway/caddy-ws-gateway/internal/durable"
)

// newFuzzed returns a Board that nobody works for, and its end of an engine.
func newFuzzed() (*Board, *link) {
	b := New(Config{
		ID: "a", Secret: []byte("secret"), Shelves: map[string]durable.Shelf{"k": &shelf{records: map[string]string{}}},
		Answer: func(string, []byte) []byte { return []byte("yes") },
	})
	return b, &link{ctx: context.Background(), engine: memory.New(time.Now).Engine()}
}

// FuzzMessages has a node hear what anybody says who can write to the engine, and what
// nodes of other versions say, who have the secret.
func FuzzMessages(f *testing.F) {
	f.Add([]byte("something"), "question", true)
	f.Add([]byte(`{"session":"s","number":1,"from":"b","to":["a"],"kind":"k"}`), "question", true)
	f.Add([]byte{1, 1, 1}, "answer", true)
	f.Add([]byte{}, "", false)
	f.Fuzz(func(_ *testing.T, message []byte, purpose string, sealed bool) {
		b, l := newFuzzed()
		defer b.Close()
		if sealed {
			message = b.sealer.seal(message, purpose)
		}
		b.heedQuestion(l, message) // not by heed, which contains panics
		b.heedAnswer(message)
	})
}

// FuzzRecords has a node learn a record. What is not sealed is not learned.
func FuzzRecords(f *testing.F) {
	f.Add("k", "id", []byte("12345678 data"), true)
	f.Add("k", "id", []byte{}, false)
	f.Fuzz(func(t *testing.T, kind, id string, data []byte, sealed bool) {
		b, _ := newFuzzed()
		defer b.Close()
		if sealed {
			data = b.sealer.seal(data, ref{kind, id}.purpose())
		}
		if known := b.known([]fleet.Record{{Kind: kind, ID: id, Data: data}}); len(known) > 0 {
			t.Errorf("%q is known, which no node has named", known)
		}
		v, ok := b.open(fleet.Record{Kind: kind, ID: id, Data: data})
		if ok && !sealed && data != nil {
			t.Errorf("%q was learned, which is not sealed", v.data)
		}
	})
}
