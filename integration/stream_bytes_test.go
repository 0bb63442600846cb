package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// eventBytes are pieces as upstreams send them: none is an event for itself.
func eventBytes() map[string][]string {
	big := "data: " + strings.Repeat("x", 1<<20) + "\n\n"
	var bytewise []string
	for _, b := range []byte("event: a\r\ndata: b\r\n\r\n:c\r\rdata:d\r\r\n\ndata: ż\n\n") {
		bytewise = append(bytewise, string(b))
	}
	return map[string][]string{
		"ends of lines":       {"data: lf\n\n", "data: crlf\r\n\r\n", "data: cr\r\r", "data: mixed\r\n\n", "data\n\r", "\n"},
		"byte by byte":        bytewise,
		"a mark in front":     {"\xef\xbb\xbf", "data: x\n", "\n"},
		"comments":            {":\n", "\n", ": keep\n\n: alive\n\n", "data: x\n: in it\n\n"},
		"fields":              {"id: 1\nevent: e\nretry: 100\ndata: x\ndata: y\n\n", "unknown\nid\n\n", "id: no data\n\n"},
		"what is no event":    {"{\"json\": true}", "\x00\xff\xfe", strings.Repeat("no end of a line ", 1000)},
		"one byte":            {"\n", "x", "\n", "\n"},
		"a MiB":               {big, big[:1000], big[1000:70_000], big[70_000:]},
		"a MiB, in one piece": {"data: first\n\n" + big + "data: and a half"},
	}
}

// TestStreamsAreNeitherChangedNorDelayed by the gateway, which passes each piece on
// before there is another, over every protocol.
func TestStreamsAreNeitherChangedNorDelayed(t *testing.T) {
	f := newFeeder(t)
	g := start(t, "ws_gateway "+f.addr+" {\n streams\n }")
	for name, pieces := range eventBytes() {
		for _, w := range ways {
			t.Run(name+" by "+w.name, func(t *testing.T) {
				s, upstream := w.pair(t, g, f, events("/"))
				if got := s.header.Get("Content-Type"); got != "text/event-stream" || s.header.Get("Content-Length") != "" {
					t.Errorf("the header is %v", s.header)
				}
				sent := ""
				for _, piece := range pieces {
					upstream.feed(t, piece)
					sent += piece
					s.await(t, sent)
				}
				upstream.finish()
				if got := s.awaitEnd(t); got != sent {
					t.Errorf("got %d bytes, want %d", len(got), len(sent))
				}
			})
		}
	}
	g.waitStreams(t, 0)
	g.assertNoLiveSeries(t)
}

// TestStreamsOfOtherTypesAreNotDelayed either, nor those that are encoded, nor what
// POST is answered with; and types that are not configured are no streams.
func TestStreamsOfOtherTypesAreNotDelayed(t *testing.T) {
	for name, row := range map[string]struct {
		fields   []string
		q        question
		protocol string // "" where it is no stream
	}{
		"ndjson":            {[]string{"Content-Type: application/x-ndjson"}, question{method: "GET", path: "/"}, "x-ndjson"},
		"with a parameter":  {[]string{"Content-Type: Text/Event-Stream ; charset=utf-8"}, events("/"), "sse"},
		"with a cache":      {[]string{"Cache-Control: max-age=60", "Vary: Accept"}, events("/"), "sse"},
		"encoded":           {[]string{"Content-Encoding: br"}, events("/"), "sse"},
		"of identity":       {[]string{"Content-Encoding: identity"}, events("/"), "sse"},
		"POST":              {nil, question{method: "POST", path: "/", body: "a question"}, "sse"},
		"without an Accept": {nil, question{method: "GET", path: "/"}, "sse"},
		"another type":      {[]string{"Content-Type: text/event-stream-2"}, events("/"), ""},
		"no type":           {[]string{"Content-Type: "}, events("/"), ""},
	} {
		f := newFeeder(t, row.fields...)
		t.Run(name, func(t *testing.T) {
			g := start(t, "ws_gateway "+f.addr+" {\n streams text/event-stream application/x-ndjson\n transport http {\n compression off\n }\n }")
			for _, w := range ways {
				s, upstream := w.pair(t, g, f, row.q)
				if upstream.body != row.q.body || upstream.request.Method != row.q.method {
					t.Errorf("the upstream was asked by %s, %q", upstream.request.Method, upstream.body)
				}
				sent := ""
				for i := range 3 {
					piece := fmt.Sprintf("{\"n\": %d}\n", i)
					upstream.feed(t, piece)
					sent += piece
					if row.protocol != "" {
						s.await(t, sent)
					}
				}
				g.expectRow(t, w, row.protocol)
				upstream.finish()
				if got := s.awaitEnd(t); got != sent {
					t.Errorf("got %q, want %q", got, sent)
				}
			}
			g.assertNoLiveSeries(t)
		})
	}
}

// expectRow has one stream listed, with the protocol, or none.
func (g *gateway) expectRow(t *testing.T, w way, protocol string) {
	t.Helper()
	if protocol == "" {
		if rows := g.connectionList(t, ""); len(rows) != 0 {
			t.Errorf("%+v is listed", rows)
		}
		return
	}
	r := g.onlyRow(t, "default")
	if r.Protocol != protocol || r.Proto != w.proto {
		t.Errorf("listed with protocol %q and proto %q, want %q and %q", r.Protocol, r.Proto, protocol, w.proto)
	}
}

// TestHeadIsNoStream though its answer says it were one.
func TestHeadIsNoStream(t *testing.T) {
	f := newFeeder(t)
	g := start(t, limitedSite(f.addr, "head", "connections 1", "streams"))
	for _, w := range ways {
		held, upstream := w.pair(t, g, f, events("/"))
		q := events("/")
		q.method = http.MethodHead
		s := w.ask(t, g, q)
		if s.awaitEnd(t); s.status != 200 || s.header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("by %s: %d, %v", w.name, s.status, s.header)
		}
		g.waitStreams(t, 1)
		upstream.finish()
		held.awaitEnd(t)
		g.waitStreams(t, 0)
	}
}
