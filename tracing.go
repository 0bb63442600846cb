package wsgateway

import (
	"net/http"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// The attributes that the span of a handshake has of the gateway, named as the
// placeholders are.
const (
	attrGateway    = attribute.Key("ws_gateway.name")
	attrResult     = attribute.Key("ws_gateway.result")
	attrUpstream   = attribute.Key("ws_gateway.upstream")
	attrConnection = attribute.Key("ws_gateway.connection")

	// Of OpenTelemetry's conventions for HTTP.
	attrStatus = attribute.Key("http.response.status_code")
	attrError  = attribute.Key("error.type")
)

// traceHandshake describes what came of a handshake in the span that a handler in front,
// such as Caddy's tracing, has begun. Without one it does nothing. Caddy writes the answer
// to a refusal when the span is over, so that only the error is there to be said of it.
func traceHandshake(r *http.Request, gateway, result string, status int) {
	span := trace.SpanFromContext(r.Context())
	if !span.IsRecording() {
		return
	}
	attributes := []attribute.KeyValue{attrGateway.String(gateway), attrResult.String(result)}
	repl := replacerOf(r)
	if upstream, _ := repl.GetString(upstreamPlaceholder); upstream != "" {
		attributes = append(attributes, attrUpstream.String(upstream))
	}
	if id, _ := repl.GetString(connectionPlaceholder); id != "" && result == resultOK {
		attributes = append(attributes, attrConnection.String(id))
	}
	if status >= http.StatusInternalServerError {
		attributes = append(attributes, attrError.String(strconv.Itoa(status)))
		span.SetStatus(codes.Error, "")
	}
	span.SetAttributes(attributes...)
}

// endTrace ends the span of a handshake that has become a stream of HTTP/2 or HTTP/3,
// whose handler stays for as long as the stream lives: the span is about the handshake.
// Whoever began the span ends it once more, which does nothing, and would have noted the
// status.
func endTrace(r *http.Request, status int) {
	span := trace.SpanFromContext(r.Context())
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attrStatus.Int(status))
	span.End()
}
