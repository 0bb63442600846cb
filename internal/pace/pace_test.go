package pace

import (
	"math"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// marked is a client whose messages come at times that a test makes up.
type marked struct {
	Marks

	counts wsframe.Counts
	last   time.Duration
}

// begun is when the clock of a test begins, which wraps soon in marks.
const begun = math.MaxUint32<<tick - int64(10*time.Second)

func newMarked() *marked { return &marked{Marks: Since(begun)} }

// pass has a message of 10 bytes come.
func (m *marked) pass(at time.Duration) {
	if now := begun + int64(at); m.Due(now) {
		m.Move(now, m.counts, wsframe.Counts{})
	}
	m.counts.Messages++
	m.counts.Bytes += 10
	m.last = max(m.last, at)
}

func (m *marked) pace(at time.Duration) Pace {
	fromClient, _ := m.Pace(begun+int64(at), begun+int64(m.last), &m.counts, &wsframe.Counts{})
	return fromClient
}

func TestPaceIsThatOfTheLastTenSeconds(t *testing.T) {
	t.Parallel()
	m := newMarked()
	steady := func(from, to time.Duration) {
		for at := from; at < to; at += 100 * time.Millisecond {
			m.pass(at)
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
	m.pass(time.Hour)
	if got := m.pace(time.Hour + time.Second).Messages; got < 0.1 || got > 0.2 {
		t.Errorf("one message after an hour: %v a second, want one in 5 to 10", got)
	}
	steady(time.Hour, time.Hour+20*time.Second)
	near("steady again", m.pace(time.Hour+20*time.Second), 10)
}

func TestPaceOfWhatHasJustBegunIsNotHuge(t *testing.T) {
	t.Parallel()
	m := newMarked()
	m.pass(time.Millisecond)
	if got := m.pace(2 * time.Millisecond); got.Messages > 1 || got.Messages < 0.9 {
		t.Errorf("%v messages a second, want about 1", got.Messages)
	}
}

func TestPaceIsRightWhereTheTimeWasTakenBeforeTheLatestMark(t *testing.T) {
	t.Parallel()
	m := newMarked()
	var at time.Duration
	step := func() {
		at += 100 * time.Millisecond
		m.pass(at)
	}
	for at < 20*time.Second {
		step()
	}
	for before := m.newer; m.newer == before; {
		step()
	}
	marks := m.Marks
	if got := m.pace(at - 500*time.Millisecond).Messages; got < 9 || got > 11 {
		t.Errorf("for a look that began before: %v messages a second, want about 10", got)
	}
	m.pass(at - 2*time.Millisecond)
	if m.Marks != marks {
		t.Errorf("what came before the latest mark moved the marks from %+v to %+v", marks, m.Marks)
	}
	if got := m.pace(at + time.Millisecond).Messages; got < 9 || got > 11 {
		t.Errorf("after that: %v messages a second, want about 10", got)
	}
}

func TestPacesOfTheTwoSidesAreNotMixedUp(t *testing.T) {
	t.Parallel()
	m := Since(0)
	m.Move(int64(20*time.Second), wsframe.Counts{Messages: 100, Bytes: 1000}, wsframe.Counts{Messages: 200, Bytes: 2000})
	now := int64(30 * time.Second)
	client, upstream := m.Pace(now, now, &wsframe.Counts{Messages: 110, Bytes: 1020}, &wsframe.Counts{Messages: 230, Bytes: 2040})
	near := func(got, want float64) bool { return math.Abs(got-want) < want/100 }
	if !near(client.Messages, 1) || !near(client.Bytes, 2) || !near(upstream.Messages, 3) || !near(upstream.Bytes, 4) {
		t.Errorf("client %+v, upstream %+v, want 1 and 2, 3 and 4", client, upstream)
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

func BenchmarkMarks(b *testing.B) {
	m := Since(0)
	var counts wsframe.Counts
	now := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		now += int64(10 * time.Millisecond)
		if m.Due(now) {
			m.Move(now, counts, counts)
		}
		counts.Messages++
	}
}
