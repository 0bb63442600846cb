package integration

import (
	"slices"
	"testing"
	"time"
)

// idling is a stream that is kept up, or not, by what is sent over and over again.
type idling struct {
	path, piece string
	lives       bool
}

// TestStreamIsIdleWithoutEvents whatever comments come. Other types are not while there
// are bytes.
func TestStreamIsIdleWithoutEvents(t *testing.T) {
	const timeout = 2 * time.Second
	streams, lines := newFeeder(t), newFeeder(t, "Content-Type: application/x-ndjson")
	g := start(t, "ws_gateway /lines "+lines.addr+" {\n name idle\n idle_timeout 2s\n streams application/x-ndjson\n }\n"+
		"ws_gateway "+streams.addr+" {\n name idle\n idle_timeout 2s\n streams\n }")
	for !idleTogether(t, g, streams, lines, timeout) {
		t.Log("the machine was too busy to keep streams up")
	}
	g.assertNoLiveSeries(t)
}

// idleTogether opens streams of all kinds, and waits for the end of those that are idle.
// It reports whether the others had a chance.
func idleTogether(t *testing.T, g *gateway, streams, lines *feeder, timeout time.Duration) (could bool) {
	before := len(book.closedBy(streams.addr, lines.addr))
	var ending, living []*follower
	var feeds []*feed
	var pauses []<-chan time.Duration
	defer func() {
		for _, upstream := range feeds {
			upstream.finish()
		}
		g.waitStreams(t, 0)
	}()
	stop := make(chan struct{})
	for _, w := range ways {
		for _, row := range []idling{
			{"/silence", "", false}, {"/comments", ": comment\n\n", false},
			{"/events", "data: x\n\n", true}, {"/lines", " ", true},
		} {
			f := streams
			if row.path == "/lines" {
				f = lines
			}
			began := time.Now()
			s, upstream := w.pair(t, g, f, events(row.path))
			feeds = append(feeds, upstream)
			longest := upstream.repeat(row.piece, began, stop)
			if row.lives {
				living, pauses = append(living, s), append(pauses, longest)
			} else {
				ending = append(ending, s)
			}
		}
	}
	for _, s := range ending {
		receive(t, "the end of an idle stream by "+s.way.name, s.ended)
	}
	over := slices.ContainsFunc(living, func(s *follower) bool {
		select {
		case <-s.ended:
			return true
		default:
			return false
		}
	})
	close(stop)
	could = true
	for _, longest := range pauses {
		could = receive(t, "the longest pause", longest) < timeout/2 && could
	}
	if over && could {
		t.Error("a stream that was not idle ended")
	}
	eventually(t, "the lines of their ends", func() bool { return len(book.closedBy(streams.addr, lines.addr)) >= before+len(ending) })
	for _, line := range book.closedBy(streams.addr, lines.addr)[before:] {
		if line.str("by") == "gateway" && line.str("reason") != "idle for too long" {
			t.Errorf("logged %s", line.raw)
		}
	}
	return could
}

// repeat sends a piece over and over again, and then tells for how long it did not since
// it began.
func (a *feed) repeat(piece string, began time.Time, stop <-chan struct{}) (longest <-chan time.Duration) {
	told := make(chan time.Duration, 1)
	go func() {
		pace := time.NewTicker(20 * time.Millisecond)
		defer pace.Stop()
		last, most := began, time.Duration(0)
		defer func() { told <- max(most, time.Since(last)) }()
		for {
			select {
			case <-stop:
				return
			case <-a.ended:
				return
			case <-pace.C:
			}
			if piece != "" && !a.write(piece) {
				return
			}
			most, last = max(most, time.Since(last)), time.Now()
		}
	}()
	return told
}
