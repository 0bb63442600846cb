package integration

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// inflated is what a client can inflate of what it has, and whether that is all there is.
func (s *follower) inflated(t *testing.T) (text string, whole bool) {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(s.got.bytes()))
	if err != nil {
		return "", false
	}
	got, err := io.ReadAll(r)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("by %s: %v after %d bytes", s.way.name, err, len(got))
	}
	return string(got), err == nil
}

// awaitInflated is await for what is compressed on the way.
func (s *follower) awaitInflated(t *testing.T, want string) {
	t.Helper()
	var got string
	if !poll(patience, func() bool {
		got, _ = s.inflated(t)
		return len(got) >= len(want)
	}) || got != want {
		t.Fatalf("by %s the client can inflate %d bytes, ending in %q, want %d, ending in %q", s.way.name, len(got), tail(got), len(want), tail(want))
	}
}

// pairSending is pair where the header comes with the first piece, which encode waits
// for.
func (w way) pairSending(t *testing.T, g *gateway, f *feeder, q question, piece string) (*follower, *feed) {
	t.Helper()
	answered := make(chan *follower, 1)
	go func() {
		s, err := w.try(g, q)
		if err != nil {
			t.Errorf("%s by %s: %v", q.path, w.name, err)
		}
		answered <- s
	}()
	upstream := f.next(t)
	upstream.feed(t, piece)
	s := receive(t, "the header of the answer", answered)
	if s == nil {
		t.FailNow()
	}
	t.Cleanup(s.leave)
	return s, upstream
}

// TestStreamsBehindEncode are compressed without a delay, and end between events, with
// all that a client needs to inflate them.
func TestStreamsBehindEncode(t *testing.T) {
	f := newFeeder(t)
	g := start(t, "encode gzip {\n minimum_length 1\n }\nws_gateway "+f.addr+" {\n name encoded\n streams\n }")
	q := events("/", http.Header{"Accept-Encoding": {"gzip"}})
	for i, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			g.waitStreams(t, 0)
			const first = "id: 1\ndata: first\n\n"
			s, upstream := w.pairSending(t, g, f, q, first)
			if got := s.header.Get("Content-Encoding"); got != "gzip" {
				t.Fatalf("Content-Encoding is %q", got)
			}
			sent := first
			for _, piece := range []string{"data: x", "\n", "\n", ": comment\n\n", "data: " + strings.Repeat("long ", 40_000) + "\n\ndata: ha"} {
				upstream.feed(t, piece)
				sent += piece
				s.awaitInflated(t, sent)
			}
			began := time.Now()
			g.killAllStreams(t, "encoded", 1)
			upstream.write("lf\n\ndata: never\n\n")
			if time.Since(began) > streamsAreCutAfter/2 {
				t.Skip("it took so long that the stream may have been cut")
			}
			s.awaitEnd(t)
			if got, whole := s.inflated(t); !whole || got != sent+"lf\n\n" {
				t.Errorf("inflated %d bytes, ending in %q, whole: %t", len(got), tail(got), whole)
			}
			line := book.waitClosed(t, f.addr, i+1)
			if line.num("messages_from_upstream") != 4 || line.num("bytes_from_upstream") != float64(len(sent)+4) {
				t.Errorf("logged %s", line.raw)
			}
		})
	}
	g.assertNoLiveSeries(t)
}

// TestStreamsBehindEncodeOfOtherClients are not compressed where these do not want it.
func TestStreamsBehindEncodeOfOtherClients(t *testing.T) {
	f := newFeeder(t)
	g := start(t, "encode gzip\nws_gateway "+f.addr+" {\n name unencoded\n streams\n }")
	for _, accepted := range []string{"", "identity"} {
		for _, w := range ways {
			s, upstream := w.pairSending(t, g, f, events("/", http.Header{"Accept-Encoding": {accepted}}), "data: 1\n\n")
			if got := s.header.Get("Content-Encoding"); got != "" {
				t.Errorf("by %s for %q: Content-Encoding is %q", w.name, accepted, got)
			}
			s.await(t, "data: 1\n\n")
			upstream.feed(t, "data: 2\n\n")
			s.await(t, "data: 1\n\ndata: 2\n\n")
			g.killAllStreams(t, "unencoded", 1)
			s.awaitEnd(t)
			s.await(t, "data: 1\n\ndata: 2\n\n")
			g.waitStreams(t, 0)
		}
	}
	g.assertNoLiveSeries(t)
}
