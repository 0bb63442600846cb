package wsgateway

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/durable"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/revocation"
)

// brokenStorage neither writes nor deletes.
type brokenStorage struct{ memoryStorage }

var errBroken = errors.New("the disk is full")

// Store implements durable.Storage.
func (*brokenStorage) Store(context.Context, string, []byte) error { return errBroken }

// Delete implements durable.Storage.
func (*brokenStorage) Delete(context.Context, string) error { return errBroken }

// liveAs adds a connection of a token that ends.
func (r *revoker) liveAs(user, jti, gateway string, expires time.Time) *bubble.Peer {
	details, client, backend := linked()
	details.ID, details.Gateway, details.UserID, details.Upstream = live.NewID(), gateway, user, "a:1"
	c := r.set.NewConn(details, "a:1", live.NewAuthority(jti, "k", "", time.Unix(1, 0), expires))
	r.set.Add(c)
	go run(c)
	go client.AnswerClose()
	go backend.AnswerClose()
	return client
}

func newLiveRevoker(t *testing.T) *revoker {
	t.Helper()
	r := newRevoker(t)
	r.set.Name("a:1")
	r.set.NewCredentials().Accept([]string{"k"}, []string{"a:1"})
	return r
}

// TestRevocationEndsWhatIsLive and by default lasts as long as that would have.
func TestRevocationEndsWhatIsLive(t *testing.T) {
	t.Parallel()
	month := 30 * 24 * time.Hour
	for name, row := range map[string]struct {
		body  string
		ended map[string]int // codes by the names of the connections
		lasts time.Duration
	}{
		"a token":              {`{"jti":"t"}`, map[string]int{"chat 1": 3000, "chat 2": 3000, "news": 3000}, 5 * time.Hour},
		"a token on a gateway": {`{"jti":"t","gateway":"chat"}`, map[string]int{"chat 1": 3000, "chat 2": 3000}, 2 * time.Hour},
		"a token, for":         {`{"jti":"t","for":"1m","code":4001}`, map[string]int{"chat 1": 4001, "chat 2": 4001, "news": 4001}, time.Minute},
		"an endless token":     {`{"jti":"endless"}`, map[string]int{"endless": 3000, "ends": 3000}, month},
		"an unknown token":     {`{"jti":"u"}`, nil, month},
		"a user":               {`{"user":"bob","code":1008,"reason":"out"}`, map[string]int{"endless": 1008, "ends": 1008}, month},
		"a user, before":       {`{"user":"bob","issued_before":"1970-01-01T00:00:00Z"}`, nil, month},
		"a user, by the first": {`{"user":"bob","issued_before":"1970-01-01T00:00:01Z"}`, map[string]int{"endless": 3000, "ends": 3000}, month},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newLiveRevoker(t)
				now := time.Now()
				conns := map[string]*bubble.Peer{
					"chat 1":  r.liveAs("alice", "t", "chat", now.Add(time.Hour)),
					"chat 2":  r.liveAs("alice", "t", "chat", now.Add(2*time.Hour)),
					"news":    r.liveAs("carol", "t", "news", now.Add(5*time.Hour)),
					"endless": r.liveAs("bob", "endless", "chat", time.Time{}),
					"ends":    r.liveAs("bob", "endless", "chat", now.Add(time.Hour)),
				}
				m := r.revoke(t, row.body)
				if m.Ended != len(row.ended) || m.Until.Sub(now) != row.lasts {
					t.Errorf("ended %d until %s, want %d for %s", m.Ended, m.Until, len(row.ended), row.lasts)
				}
				synctest.Wait()
				for name, conn := range conns {
					code := 0
					select {
					case code = <-conn.Code:
					default:
					}
					if code != row.ended[name] {
						t.Errorf("%s was closed with %d, want %d", name, code, row.ended[name])
					}
				}
				if again := r.revoke(t, row.body); again.Ended != 0 {
					t.Errorf("ended %d again", again.Ended)
				}
				r.set.End(live.EndRevoked, func(*live.Conn) bool { return true })
				synctest.Wait()
			})
		})
	}
}

// TestStorageThatFailsIsTold while what was revoked is in force, and what was to be
// deleted as well.
func TestStorageThatFailsIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newLiveRevoker(t)
		before := r.revoke(t, `{"jti":"before"}`)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		release := r.kept.book.Attach(ctx, new(brokenStorage), zap.NewNop())
		conn := r.liveAs("alice", "t", "chat", time.Time{})
		status, answer, _ := r.do("POST", "", `{"jti":"t"}`)
		if status != 500 || !strings.Contains(answer, "in force") || !strings.Contains(answer, errBroken.Error()) {
			t.Errorf("%d %s, want 500 that says what is in force, and why", status, answer)
		}
		if code := <-conn.Code; code != 3000 {
			t.Errorf("closed with %d", code)
		}
		if r.set.Revocations.Find(revocation.Credential{JTI: "t"}) == nil {
			t.Error("it is not in force")
		}
		status, answer, _ = r.do("DELETE", "/"+before.ID, "")
		if status != 500 || !strings.Contains(answer, "still in force") || !strings.Contains(answer, errBroken.Error()) {
			t.Errorf("deleting: %d %s", status, answer)
		}
		if r.set.Revocations.Find(revocation.Credential{JTI: "before"}) == nil {
			t.Error("what could not be deleted is not in force")
		}
		if err := r.kept.setState(t.Context(), "a:1", balance.Drain); !errors.Is(err, errNotKept) || r.set.Ledger.Look("a:1").State != balance.Drain {
			t.Errorf("setting a state: %v, and it is %s", err, r.set.Ledger.Look("a:1").State)
		}
		release()
	})
}

func TestRevocationsAreLearned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newLiveRevoker(t)
		shelf := revocationShelf{r.kept}
		sound := revocation.Revocation{JTI: "t", Until: time.Now().Add(time.Hour), Code: 4001, Reason: "out"}.Identify()
		other := revocation.Revocation{JTI: "u", Until: time.Now().Add(time.Hour)}.Identify()
		lapsed := revocation.Revocation{JTI: "l", Until: time.Now()}.Identify()
		stolen, stays := r.liveAs("alice", "t", "chat", time.Time{}), r.liveAs("bob", "", "chat", time.Time{})
		for _, damaged := range []struct{ id, data string }{
			{sound.ID, ""}, {sound.ID, "{}"}, {sound.ID, "[]"}, {sound.ID, `{"jti":"t"}`}, {other.ID, textOf(t, sound)},
		} {
			if _, err := shelf.Learn(damaged.id, []byte(damaged.data)); err == nil || errors.Is(err, durable.ErrLapsed) {
				t.Errorf("learning %s as %s: %v", damaged.data, damaged.id, err)
			}
		}
		for _, row := range []struct {
			id, data string
			want     error
		}{
			{lapsed.ID, textOf(t, lapsed), durable.ErrLapsed},
			{sound.ID, textOf(t, sound), nil},
			{sound.ID, textOf(t, sound), nil},
		} {
			if _, err := shelf.Learn(row.id, []byte(row.data)); !errors.Is(err, row.want) {
				t.Errorf("learning %s as %s: %v, want %v", row.data, row.id, err, row.want)
			}
		}
		if code := <-stolen.Code; code != 4001 {
			t.Errorf("closed with %d, want the revocation's code", code)
		}
		for id, data := range shelf.All() {
			if id != sound.ID || string(data) != textOf(t, sound) {
				t.Errorf("on the shelf is %s: %s", id, data)
			}
		}
		shelf.Forget(other.ID)
		shelf.Forget(sound.ID)
		if all := r.listed(t, ""); len(all) != 0 {
			t.Errorf("listed are %+v after it was forgotten", all)
		}
		r.set.End(live.EndRevoked, func(*live.Conn) bool { return true })
		<-stays.Code
	})
}

// TestEarlierEndOfAnotherProcessDoesNotCount also where it has passed: the later one
// is to be stored again.
func TestEarlierEndOfAnotherProcessDoesNotCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, lasts := range []time.Duration{time.Minute, -time.Minute} {
			r := newRevoker(t)
			m := r.revoke(t, `{"jti":"t","for":"1h"}`)
			kept := *r.set.Revocations.Get(m.ID)
			earlier := kept
			earlier.Until = time.Now().Add(lasts)
			stored, err := (revocationShelf{r.kept}).Learn(m.ID, []byte(textOf(t, earlier)))
			if err != nil || string(stored) != textOf(t, kept) {
				t.Errorf("learning an end of %s: %v, and %s is to be stored, want the later end", lasts, err, stored)
			}
			if got := r.set.Revocations.Get(m.ID); !got.Until.Equal(kept.Until) {
				t.Errorf("it ends %s, want %s", got.Until, kept.Until)
			}
		}
	})
}

func TestStatesAreLearned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRevoker(t)
		r.set.Name("a:1")
		states := r.kept.states
		record := func(state string, ago time.Duration) upstreamState {
			return upstreamState{"a:1", state, time.Now().Add(-ago)}
		}
		drain := record("drain", 0)
		is := func(want balance.State) {
			t.Helper()
			if got := r.set.Ledger.Look("a:1").State; got != want {
				t.Errorf("it is %s, want %s", got, want)
			}
		}
		for _, data := range []string{"", "null", "{}", `{"state":"drain"}`, `{"address":"a:1"}`, textOf(t, record("asleep", 0)), textOf(t, upstreamState{"b:1", "drain", time.Now()})} {
			if _, err := states.Learn(drain.id(), []byte(data)); err == nil || errors.Is(err, durable.ErrLapsed) {
				t.Errorf("learning %s: %v", data, err)
			}
		}
		is(balance.Ready)
		for _, row := range []struct {
			record upstreamState
			want   error
			is     balance.State
		}{
			{drain, nil, balance.Drain},
			{record("drain", 1000*time.Hour), nil, balance.Drain},
			{record("maintenance", 0), nil, balance.Maintenance},
			{record("ready", time.Minute), nil, balance.Ready},
			{record("maintenance", 0), nil, balance.Maintenance},
		} {
			if _, err := states.Learn(drain.id(), []byte(textOf(t, row.record))); !errors.Is(err, row.want) {
				t.Errorf("learning %+v: %v, want %v", row.record, err, row.want)
			}
			is(row.is)
		}
		states.Forget("unknown")
		is(balance.Maintenance)
		if all := maps.Collect(states.All()); len(all) != 1 || !strings.Contains(string(all[drain.id()]), "maintenance") {
			t.Errorf("on the shelf is %s", all)
		}
		states.Forget(drain.id())
		is(balance.Ready)

		states.put("a:1", balance.Drain)
		states.put("b:1", balance.Ready)
		bubble.Elapse(readyRecordKept + time.Second)
		ready := upstreamState{Address: "b:1"}
		if got := states.Lapse(time.Now()); !slices.Equal(got, []string{ready.id()}) {
			t.Errorf("lapsed are %q, want what is ready", got)
		}
		if _, err := states.Learn(drain.id(), []byte(textOf(t, record("ready", 2*time.Hour)))); !errors.Is(err, durable.ErrLapsed) {
			t.Errorf("learning a ready of long ago: %v", err)
		}
	})
}

func textOf(t *testing.T, record any) string {
	t.Helper()
	data, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
