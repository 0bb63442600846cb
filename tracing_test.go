package wsgateway

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.opentelemetry.io/otel/trace"
)

// TestHandshakeThatNobodyTracesCostsNothing also where the client sends a traceparent that
// no handler in front has looked at, or where the trace is not sampled.
func TestHandshakeThatNobodyTracesCostsNothing(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/ws", nil)
	r.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	plain := context.WithValue(r.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer())
	for name, ctx := range map[string]context.Context{
		"no span":          plain,
		"not sampled":      trace.ContextWithSpanContext(plain, trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}})),
		"somewhere else's": trace.ContextWithRemoteSpanContext(plain, trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}})),
	} {
		traced := r.WithContext(ctx)
		if n := testing.AllocsPerRun(100, func() {
			traceHandshake(traced, "gateway", resultOK, http.StatusSwitchingProtocols)
			endTrace(traced, http.StatusOK)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
