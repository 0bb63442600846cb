package relay

import (
	"math"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// marked feeds a relay by hand, at times that the test makes up.
type marked struct {
	*Relay
	made int64
}

func newMarked() marked {
	r := New(Config{})
	return marked{r, r.lastActive}
}

// pass has a message of the client come at a time since the relay was made.
func (m marked) pass(at time.Duration, message []byte) {
	now := m.made + int64(at)
	m.followPiece(&m.client, &m.upstream, message, now)
	m.pieceWritten(&m.client, &m.upstream, nil, now)
}

// pace is that of the client at a time since the relay was made.
func (m marked) pace(at time.Duration) Pace {
	return m.Look(moment(m.made + int64(at))).PaceFromClient
}

func TestPaceIsThatOfTheLastTenSeconds(t *testing.T) {
	t.Parallel()
	m := newMarked()
	message := maskedText("0123456789")
	steady := func(from, to time.Duration) {
		for at := from; at < to; at += 100 * time.Millisecond {
			m.pass(at, message)
		}
	}
	near := func(name string, got Pace, messages float64) {
		t.Helper()
		if math.Abs(got.Messages-messages) > messages/20 || math.Abs(got.Bytes-10*got.Messages) > 1e-6 {
			t.Errorf("%s: %+v, want %v messages of 10 bytes", name, got, messages)
		}
	}
	steady(0, 30*time.Second)
	near("steady", m.pace(30*time.Second), 10)
	if got := m.pace(34 * time.Second).Messages; got < 1 || got > 7 {
		t.Errorf("after 4 seconds of silence: %v, want less than before and more than nothing", got)
	}
	near("nothing for 10 seconds", m.pace(41*time.Second), 0)
	m.pass(time.Hour, message)
	got := m.pace(time.Hour + time.Second).Messages
	if got < 0.1 || got > 0.2 {
		t.Errorf("one message after an hour: %v a second, want one in 5 to 10", got)
	}
	steady(time.Hour, time.Hour+20*time.Second)
	near("steady again", m.pace(time.Hour+20*time.Second), 10)
}

func TestPaceOfAConnectionThatHasJustBeenOpenedIsNotHuge(t *testing.T) {
	t.Parallel()
	m := newMarked()
	m.pass(time.Millisecond, maskedText("hello"))
	if got := m.pace(2 * time.Millisecond); got.Messages > 1 || got.Messages < 0.9 {
		t.Errorf("%v messages a second, want about 1", got.Messages)
	}
}

func TestPaceIsRightWhereTheTimeWasTakenBeforeTheLatestMark(t *testing.T) {
	t.Parallel()
	m := newMarked()
	message := maskedText("0123456789")
	var at time.Duration
	step := func() {
		at += 100 * time.Millisecond
		m.pass(at, message)
	}
	for at < 20*time.Second {
		step()
	}
	for before := m.marks.newer; m.marks.newer == before; {
		step()
	}
	marks := m.marks
	if got := m.pace(at - 500*time.Millisecond).Messages; got < 9 || got > 11 {
		t.Errorf("for a look that began before: %v messages a second, want about 10", got)
	}
	m.pass(at-2*time.Millisecond, message)
	if m.marks != marks {
		t.Errorf("what came before the latest mark moved the marks from %+v to %+v", marks, m.marks)
	}
	if got := m.pace(at + time.Millisecond).Messages; got < 9 || got > 11 {
		t.Errorf("after that: %v messages a second, want about 10", got)
	}
}

func TestMarkedBytesAreExactAtFirstAndNeverWrapEarly(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ before, after, unsure uint64 }{
		{0, 0, 0},
		{0, 5, 0},
		{1<<31 - 1, 1 << 33, 0},
		{1 << 31, 1<<31 + 5, 15},
		{1<<31 + 100, 1<<31 + 100 + 30<<30, 15},
		{1<<40 + 7, 1<<40 + 7 + 31<<30, 15},
		{math.MaxUint64 - 100, math.MaxUint64, 15},
	} {
		got, want := bytesSince(row.after, markBytes(row.before)), row.after-row.before
		if got+row.unsure < want || got > want+row.unsure {
			t.Errorf("from %d to %d: %d, want %d", row.before, row.after, got, want)
		}
	}
}

func TestLookHasWhatCame(t *testing.T) {
	t.Parallel()
	m := newMarked()
	first := maskedText("a")
	first[0] &^= 0x80 // there is more of the message
	m.pass(0, append(first, frame(wsframe.Continuation, true, []byte("bc"))...))
	m.pass(0, frame(wsframe.Ping, true, []byte("p")))
	look := m.Look(moment(m.made))
	if want := (wsframe.Counts{Messages: 1, Text: 1, Pings: 1, Bytes: 3}); look.FromClient != want {
		t.Errorf("%+v, want %+v", look.FromClient, want)
	}
}
