package integration

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// spans are those that Caddy has exported.
var spans spanBook

func init() {
	autoexport.RegisterSpanExporter("book", func(context.Context) (sdktrace.SpanExporter, error) { return &spans, nil })
}

type spanBook struct {
	mu    sync.Mutex // protects the following
	ended []sdktrace.ReadOnlySpan
}

// ExportSpans implements sdktrace.SpanExporter.
func (b *spanBook) ExportSpans(_ context.Context, ended []sdktrace.ReadOnlySpan) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = append(b.ended, ended...)
	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (*spanBook) Shutdown(context.Context) error { return nil }

// of waits for the spans of a trace: each handshake has one.
func (b *spanBook) of(t *testing.T, traceID string) (found sdktrace.ReadOnlySpan) {
	t.Helper()
	eventually(t, "the span of "+traceID, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, span := range b.ended {
			if span.SpanContext().TraceID().String() == traceID {
				found = span
			}
		}
		return found != nil
	})
	return found
}

// count is how many spans of a trace there are.
func (b *spanBook) count(traceID string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, span := range b.ended {
		if span.SpanContext().TraceID().String() == traceID {
			n++
		}
	}
	return n
}

// tracing has Caddy export to spans at once.
func tracing(t *testing.T) {
	t.Helper()
	t.Setenv("OTEL_TRACES_EXPORTER", "book")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
	t.Setenv("OTEL_TRACES_SAMPLER", "always_on")
}

var traces = 0

// traced is the header of a request within a trace of its own.
func traced() (traceID string, header http.Header) {
	traces++
	traceID = fmt.Sprintf("%032x", 0xabc000+traces)
	return traceID, http.Header{"Traceparent": {"00-" + traceID + "-00f067aa0ba902b7-01"}}
}

func attributesOf(span sdktrace.ReadOnlySpan) map[string]string {
	values := make(map[string]string)
	for _, kv := range span.Attributes() {
		values[string(kv.Key)] = kv.Value.String()
	}
	return values
}

// TestHandshakeIsASpanThatEndsAtTheUpgrade while the connection lives on, and the upstream
// is told of the span.
func TestHandshakeIsASpanThatEndsAtTheUpgrade(t *testing.T) {
	tracing(t)
	b := newBackend(t, echo)
	g := start(t, "tracing {\n span gateway\n }\nws_gateway {\n name traced\n to "+b.addr+"\n header_up X-More more\n }")
	for i, c := range carriers {
		traceID, header := traced()
		conn := c.open(t, g, "/ws", header)
		span := spans.of(t, traceID)
		opened := book.wait(t, "opened", i+1)
		want := map[string]string{
			"ws_gateway.name": "traced", "ws_gateway.result": "ok", "ws_gateway.upstream": b.addr,
			"ws_gateway.connection": opened.str("connection"), "http.response.status_code": fmt.Sprint(c.status),
		}
		attributes := attributesOf(span)
		for name, value := range want {
			if attributes[name] != value || value == "" {
				t.Errorf("%s: %s is %q, want %q", c.name, name, attributes[name], value)
			}
		}
		if span.Name() != "gateway" || span.Parent().SpanID().String() != "00f067aa0ba902b7" || span.Status().Code != codes.Unset {
			t.Errorf("%s: the span %q has the parent %v and the status %v", c.name, span.Name(), span.Parent().SpanID(), span.Status())
		}
		seen := b.everSeen()[i].req.Header
		if got, want := seen.Get("Traceparent"), "00-"+traceID+"-"+span.SpanContext().SpanID().String()+"-01"; got != want {
			t.Errorf("%s: the upstream has the traceparent %q, want %q", c.name, got, want)
		}
		if seen.Get("X-More") != "more" {
			t.Errorf("%s: header_up was not applied", c.name)
		}
		conn.ping(t, "alive, after its span has ended")
		conn.finish(t)
		eventually(t, "the end", func() bool { return len(book.closedBy(b.addr)) == i+1 })
		if n := spans.count(traceID); n != 1 {
			t.Errorf("%s: there are %d spans", c.name, n)
		}
	}
}

// TestRefusedHandshakeSaysInItsSpanWhy and an upstream that is at fault makes it an error.
func TestRefusedHandshakeSaysInItsSpanWhy(t *testing.T) {
	tracing(t)
	refusing := newBackend(t, answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"))
	invalid := newBackend(t, answering("HTTP/1.1 101 Switching Protocols\r\n\r\n"))
	g := start(t, "tracing\nws_gateway /refused "+refusing.addr+"\nws_gateway /invalid "+invalid.addr+
		"\nws_gateway /token "+refusing.addr+" {\n auth {\n bearer good-token alice\n }\n }")
	for path, row := range map[string]struct {
		status   int
		result   string
		upstream string
		failed   bool
	}{
		"/refused": {403, "refused", refusing.addr, false},
		"/invalid": {502, "upstream_error", invalid.addr, true},
		"/token":   {401, "unauthorized", "", false},
	} {
		for _, c := range carriers {
			traceID, header := traced()
			c.refused(t, g, path, header, row.status)
			span := spans.of(t, traceID)
			got := attributesOf(span)
			if got["ws_gateway.result"] != row.result || got["ws_gateway.upstream"] != row.upstream || got["ws_gateway.connection"] != "" {
				t.Errorf("%s over %s: the attributes are %v", path, c.name, got)
			}
			if failed := span.Status().Code == codes.Error; failed != row.failed || (got["error.type"] == fmt.Sprint(row.status)) != row.failed {
				t.Errorf("%s over %s: status %v, attributes %v", path, c.name, span.Status(), got)
			}
		}
	}
}

// TestPlainRequestsAreTracedAsByReverseProxy and tell the upstream of their span.
func TestPlainRequestsAreTracedAsByReverseProxy(t *testing.T) {
	tracing(t)
	b := newBackend(t, echo)
	g := start(t, "tracing\nws_gateway "+b.addr)
	traceID, header := traced()
	g.get(t, "/plain", header)
	span := spans.of(t, traceID)
	if got := b.everSeen()[0].req.Header.Get("Traceparent"); !strings.HasPrefix(got, "00-"+traceID+"-"+span.SpanContext().SpanID().String()) {
		t.Errorf("the upstream has the traceparent %q, the span is %v", got, span.SpanContext().SpanID())
	}
	for _, kv := range span.Attributes() {
		if strings.HasPrefix(string(kv.Key), "ws_gateway.") {
			t.Errorf("it has the attribute %v of a handshake", kv)
		}
	}
}
