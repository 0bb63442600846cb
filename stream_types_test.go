package wsgateway

import (
	"net/http"
	"strings"
	"testing"
)

func TestStreamTypesAreNamedOnceAndInFull(t *testing.T) {
	for _, c := range []struct {
		types []string
		says  string // "" for no error
	}{
		{nil, ""},
		{[]string{"text/event-stream", "application/x-ndjson"}, ""},
		{[]string{"sse"}, "no content type"},
		{[]string{"/x"}, "no content type"},
		{[]string{"text/"}, "no content type"},
		{[]string{""}, "no content type"},
		{[]string{"text/event-stream;charset=utf-8"}, "parameters"},
		{[]string{"text/event-stream;"}, "parameters"},
		{[]string{"text/*"}, "many types"},
		{[]string{"application/WebSocket"}, "as WebSockets are"},
		{[]string{"text/event-stream", "Text/Event-Stream"}, "twice"},
	} {
		_, err := newStreamTypes(c.types)
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%q: %v", c.types, err)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "streams: ")):
			t.Errorf("%q: got %v, want an error about %s", c.types, err, c.says)
		}
	}
}

func TestARequestAsksForAStreamByAccept(t *testing.T) {
	types, err := newStreamTypes([]string{"text/event-stream", "application/x-ndjson"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method string
		accept []string
		asks   bool
	}{
		{"GET", []string{"text/event-stream"}, true},
		{"GET", []string{"application/json, Text/Event-Stream"}, true},
		{"GET", []string{"application/json", "application/x-ndjson;q=0.2"}, true},
		{"GET", []string{"text/event-stream;q=0"}, false},
		{"GET", []string{"text/event-stream; q=0.000"}, false},
		{"GET", []string{"*/*", "text/*"}, false},
		{"GET", []string{"text/event-streams"}, false},
		{"GET", nil, false},
		{"POST", []string{"text/event-stream"}, false},
		{"HEAD", []string{"text/event-stream"}, false},
	} {
		r := &http.Request{Method: c.method, Header: http.Header{"Accept": c.accept}}
		if got := types.askedFor(r); got != c.asks {
			t.Errorf("%s with Accept %q: got %t", c.method, c.accept, got)
		}
		if streamTypes(nil).askedFor(r) {
			t.Error("a stream is asked for where there are none")
		}
	}
}

func TestAnAnswerIsAStreamByItsHeader(t *testing.T) {
	types, err := newStreamTypes([]string{"text/event-stream", "application/x-ndjson"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method      string
		status      int
		contentType string
		protocol    string
	}{
		{"GET", 200, "text/event-stream", "sse"},
		{"POST", 201, "text/event-stream; charset=utf-8", "sse"},
		{"GET", 200, " TEXT/Event-Stream ;x", "sse"},
		{"GET", 299, "application/x-ndjson", "x-ndjson"},
		{"GET", 200, "text/plain", ""},
		{"GET", 200, "", ""},
		{"GET", 204, "text/event-stream", ""},
		{"GET", 205, "text/event-stream", ""},
		{"GET", 304, "text/event-stream", ""},
		{"GET", 500, "text/event-stream", ""},
		{"HEAD", 200, "text/event-stream", ""},
	} {
		res := &http.Response{StatusCode: c.status, Header: http.Header{"Content-Type": {c.contentType}}}
		if _, got := types.of(c.method, res); got != c.protocol {
			t.Errorf("%s, %d %q: got %q, want %q", c.method, c.status, c.contentType, got, c.protocol)
		}
	}
}
