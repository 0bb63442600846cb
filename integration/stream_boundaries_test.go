package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// underWay is a stream that is ended within an event.
type underWay struct {
	name   string
	before []string // what the client has when the end comes
	after  []string // what is sent from then on, piece by piece
	want   string   // what of that still comes
}

func eventsUnderWay() []underWay {
	mib := strings.Repeat("0123456789abcdef", 1<<16)
	return []underWay{
		{"LF", []string{"data: 1\n\ndata: 2"}, []string{"2\n\ndata: never\n\n"}, "2\n\n"},
		{"CRLF", []string{"data: 1\r\n\r\ndata: 2"}, []string{"2\r\n\r\ndata: never\r\n\r\n"}, "2\r\n\r\n"},
		{"CR", []string{"data: 1\r\rdata: 2"}, []string{"2\r\rdata: never\r\r"}, "2\r\r"},
		{"LF in pieces", []string{"data: 1\n\ndata: 2"}, []string{"\n", "\ndata: never\n\n"}, "\n\n"},
		{"LF, all but the last", []string{"data: 1\n\ndata: 2\n"}, []string{"\n"}, "\n"},
		{"CRLF in pieces", []string{"data: 1\r\n\r\ndata: 2"}, []string{"\r", "\n", "\r", "\ndata: never\r\n\r\n"}, "\r\n\r\n"},
		{"CRLF, all but the last", []string{"data: 1\r\n\r\ndata: 2\r\n\r"}, []string{"\ndata: never"}, "\n"},
		{"another line", []string{"data: 1\n\nid: 2\n"}, []string{"data: 2\n", "\ndata: never\n\n"}, "data: 2\n\n"},
		{"no data", []string{"data: 1\n\n", "id: 2\n"}, []string{"\n", "data: never\n\n"}, "\n"},
		{"a comment in it", []string{"data: 2\n: comment"}, []string{"\n", "\n: never\n"}, "\n\n"},
		{"within a comment", []string{"data: 1\n\n: com"}, []string{"ment\ndata: never\n\n"}, "ment\n"},
		{"in front of the first", []string{"dat"}, []string{"a: 1\n\n\n\n"}, "a: 1\n\n"},
		{"after a mark", []string{"\xef\xbb\xbfdata: 1\n"}, []string{"\ndata: never\n\n"}, "\n"},
		{"a character in pieces", []string{"data: \xc5"}, []string{"\xbc\n", "\n"}, "\xbc\n\n"},
		{"a MiB", []string{"data: " + mib[:100]}, []string{mib[100:], "\n\ndata: never\n\n"}, mib[100:] + "\n\n"},
		{"a MiB, of which most has come", []string{"data: " + mib[1:]}, []string{mib[:1] + "\n\ndata: " + mib}, mib[:1] + "\n\n"},
		{"many lines", []string{"data: 1\n"}, []string{strings.Repeat("data: x\n", 20_000) + "\n" + strings.Repeat("data: never\n\n", 20_000)},
			strings.Repeat("data: x\n", 20_000) + "\n"},
	}
}

// TestEventUnderWayIsFinishedFirst and nothing after it passes, over every protocol.
func TestEventUnderWayIsFinishedFirst(t *testing.T) {
	f := newFeeder(t)
	g := start(t, "ws_gateway "+f.addr+" {\n name torn\n streams\n }")
	for _, row := range eventsUnderWay() {
		for _, w := range ways {
			t.Run(row.name+" by "+w.name, func(t *testing.T) {
				for !row.play(t, g, f, w) {
					t.Log("it took so long that the stream may have been cut")
				}
			})
		}
	}
	g.assertNoLiveSeries(t)
}

// play ends a stream within an event. It reports whether that was in time.
func (u *underWay) play(t *testing.T, g *gateway, f *feeder, w way) (inTime bool) {
	s, upstream := w.pair(t, g, f, events("/"))
	before := ""
	for _, piece := range u.before {
		upstream.feed(t, piece)
		before += piece
		s.await(t, before)
	}
	began := time.Now()
	g.killAllStreams(t, "torn", 1)
	for _, piece := range u.after {
		if !upstream.write(piece) {
			break // it is over
		}
	}
	receive(t, "the end of the stream by "+w.name, s.ended)
	if time.Since(began) > streamsAreCutAfter {
		return false
	}
	if got := s.awaitEnd(t); got != before+u.want {
		t.Errorf("%d bytes came, ending in %q, want %d, ending in %q", len(got), tail(got), len(before+u.want), tail(u.want))
	}
	s.expectWhole(t, upstream)
	receive(t, "the end of the upstream's answer", upstream.ended)
	return true
}

// streamsAreCutAfter is how long an end waits for that of an event.
const streamsAreCutAfter = 5 * time.Second

// killAllStreams ends the streams of a gateway at once.
func (g *gateway) killAllStreams(t *testing.T, name string, want int) {
	t.Helper()
	status, answer := g.adminDo(t, "DELETE", "/ws_gateway/connections?gateway="+name+"&reason=killed", "", "")
	if status != 200 || answer != fmt.Sprintf("{\"ended\":%d}\n", want) {
		t.Fatalf("ending %d: %d %s", want, status, answer)
	}
}

// TestStreamsEndBetweenEventsWhateverTheirForm and whenever the end comes: the upstream
// sends without a pause, in pieces that end anywhere.
func TestStreamsEndBetweenEventsWhateverTheirForm(t *testing.T) {
	f := newFeeder(t)
	g := start(t, "ws_gateway "+f.addr+" {\n name anyhow\n streams\n }")
	var clients []*follower
	var upstreams []*feed
	var begin []func()
	for _, eol := range []string{"\n", "\r\n", "\r"} {
		for _, size := range []int{1, 7, 1000, 20_000} {
			block := ": comment|id: 1|data: ż|data|| :x||:|" + strings.Repeat("data: long|", size/5) + "|"
			for _, w := range ways {
				s, upstream := w.pair(t, g, f, events("/"))
				clients, upstreams = append(clients, s), append(upstreams, upstream)
				begin = append(begin, func() { upstream.turn(strings.ReplaceAll(block, "|", eol), size) })
			}
		}
	}
	for _, turn := range begin {
		go turn()
	}
	for _, s := range clients {
		eventually(t, "something to come", func() bool { return len(s.got.bytes()) > 0 })
	}
	g.killAllStreams(t, "anyhow", len(clients))
	for i, s := range clients {
		s.awaitEnd(t)
		s.expectWhole(t, upstreams[i])
	}
	g.assertNoLiveSeries(t)
}

// turn sends a text over and over again, in pieces of a size, until they are not taken
// any more.
func (a *feed) turn(text string, size int) {
	pace := time.NewTicker(2*time.Millisecond + time.Duration(size)*time.Microsecond)
	defer pace.Stop()
	endless := strings.Repeat(text, 2+size/len(text))
	for at := 0; a.write(endless[at : at+size]); at = (at + size) % len(text) {
		<-pace.C
	}
}

// TestStreamThatComesToNoBoundaryIsCut in the end, after all that has come of it.
func TestStreamThatComesToNoBoundaryIsCut(t *testing.T) {
	long(t)
	ndjson := newFeeder(t, "Content-Type: application/x-ndjson")
	encoded := newFeeder(t, "Content-Encoding: br")
	plain := newFeeder(t)
	g := start(t, fmt.Sprintf("ws_gateway /ndjson* %s {\n name cut\n streams application/x-ndjson\n }\nws_gateway /encoded* %s {\n name cut\n streams\n }\nws_gateway %s {\n name cut\n streams\n }",
		ndjson.addr, encoded.addr, plain.addr))
	type cut struct {
		s       *follower
		a       *feed
		further string // what comes after all
		proper  bool   // the end
	}
	var cuts []cut
	for _, w := range ways {
		for _, row := range []struct {
			f             *feeder
			path, further string
			proper        bool
		}{
			{plain, "/within", "", false},
			{plain, "/still-within", "and more\n", false},
			{ndjson, "/ndjson/quiet", "", false},
			{ndjson, "/ndjson/goes-on", "{}\n", true},
			{encoded, "/encoded/quiet", "", false},
			{encoded, "/encoded/goes-on", "\x01\x02", false},
		} {
			s, upstream := w.pair(t, g, row.f, events(row.path))
			upstream.feed(t, "data: 1\n\ndata: 2")
			s.await(t, "data: 1\n\ndata: 2")
			cuts = append(cuts, cut{s, upstream, row.further, row.proper})
		}
	}
	began := time.Now()
	g.killAllStreams(t, "cut", len(cuts))
	for _, c := range cuts {
		if c.further != "" {
			c.a.write(c.further)
		}
	}
	inTime := time.Since(began) < streamsAreCutAfter/2
	for _, c := range cuts {
		wait := c.s.awaitCut
		if c.proper && inTime {
			wait = c.s.awaitEnd
		} else if c.further != "" && !inTime {
			continue
		}
		got, ok := strings.CutPrefix(wait(t), "data: 1\n\ndata: 2")
		if !ok || got != c.further && (c.proper || got != "") { // a cut may overtake it
			t.Errorf("by %s came %q further, want %q", c.s.way.name, got, c.further)
		}
		receive(t, "the end of the upstream's answer", c.a.ended)
	}
	g.assertNoLiveSeries(t)
	ended := func() []logLine { return book.closedBy(ndjson.addr, encoded.addr, plain.addr) }
	eventually(t, "the lines of their ends", func() bool { return len(ended()) == len(cuts) })
	for _, line := range ended() {
		if line.str("by") != "gateway" || line.str("reason") != "killed" {
			t.Errorf("logged %s", line.raw)
		}
	}
}

// TestStreamsThatEndOfThemselves are passed on as they end: properly, or not.
func TestStreamsThatEndOfThemselves(t *testing.T) {
	f := newFeeder(t)
	name := f.named("themselves")
	g := start(t, "ws_gateway "+f.addr+" {\n name "+name+"\n streams\n }")
	for i, row := range []struct {
		end    func(*follower, *feed)
		by     string
		proper bool
	}{
		{func(_ *follower, a *feed) { a.finish() }, "upstream", true},
		{func(_ *follower, a *feed) { a.breakOff() }, "upstream", false},
		{func(s *follower, _ *feed) { s.leave() }, "client", false},
	} {
		for k, w := range ways {
			s, upstream := w.pair(t, g, f, events("/"))
			upstream.feed(t, "data: 1\n\ndata: 2")
			s.await(t, "data: 1\n\ndata: 2")
			row.end(s, upstream)
			if row.proper {
				s.awaitEnd(t)
			} else {
				s.awaitCut(t)
			}
			receive(t, "the end of the upstream's answer", upstream.ended)
			line := book.waitClosed(t, f.addr, i*len(ways)+k+1)
			if line.str("by") != row.by || line.num("messages_from_upstream") != 1 || line.num("bytes_from_upstream") != 16 || line.str("protocol") != "sse" {
				t.Errorf("logged %s", line.raw)
			}
			if opened := book.wait(t, "opened", i*len(ways)+k+1); opened.str("connection") != line.str("connection") || opened.str("protocol") != "sse" {
				t.Errorf("logged %s before %s", opened.raw, line.raw)
			}
		}
	}
	g.assertNoLiveSeries(t)
	past := g.connectionList(t, "?state=closed&gateway="+name)
	if i := slices.IndexFunc(past, func(r row) bool { return r.Protocol != "sse" || r.Code != 0 || r.MessagesFromUpstream != 1 }); i >= 0 || len(past) != 3*len(ways) {
		t.Errorf("%d are listed as closed, among them number %d: %+v", len(past), i, past)
	}
}

// TestClientThatLeavesEndsTheUpstreamsAnswer also where nothing is sent.
func TestClientThatLeavesEndsTheUpstreamsAnswer(t *testing.T) {
	f := newFeeder(t)
	g := start(t, "ws_gateway "+f.addr+" {\n streams\n transport http {\n versions h2c\n }\n }")
	for _, w := range ways {
		s, upstream := w.pair(t, g, f, unannounced[0])
		if upstream.request.Proto != "HTTP/2.0" {
			t.Fatalf("the upstream was asked by %s", upstream.request.Proto)
		}
		g.waitStreams(t, 1)
		s.leave()
		receive(t, "the end of the upstream's answer", upstream.ended)
		g.waitStreams(t, 0)

		s, upstream = w.pair(t, g, f, events("/"))
		upstream.feed(t, "data: 1\n\n")
		s.await(t, "data: 1\n\n")
		g.killAllStreams(t, "default", 1)
		s.awaitEnd(t)
		receive(t, "the end of the upstream's answer", upstream.ended)
	}
	g.assertNoLiveSeries(t)
}
