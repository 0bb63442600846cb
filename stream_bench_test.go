package wsgateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// BenchmarkPlainRequest is to show what a request that is no stream pays for streams.
func BenchmarkPlainRequest(b *testing.B) {
	for name, row := range map[string]struct {
		streams []string
		accept  string
	}{
		"without streams": {nil, "application/json"},
		"with streams":    {[]string{typeEventStream}, "application/json"},
		"that asked":      {[]string{typeEventStream}, typeEventStream},
	} {
		b.Run(name, func(b *testing.B) {
			ctx, err := caddy.ProvisionContext(new(caddy.Config))
			if err != nil {
				b.Fatal(err)
			}
			h := &Handler{Name: "benchmark", Streams: row.streams, Proxy: &reverseproxy.Handler{
				Upstreams: reverseproxy.UpstreamPool{{Dial: "localhost:9001"}},
			}}
			if err := h.Provision(ctx); err != nil {
				b.Fatal(err)
			}
			defer func() { _ = h.Cleanup() }()
			h.transport.RoundTripper = answering{}
			b.ReportAllocs()
			for b.Loop() {
				servePlainly(b, h, row.accept)
			}
		})
	}
}

func servePlainly(b *testing.B, h *Handler, accept string) {
	r := httptest.NewRequest(http.MethodGet, "http://localhost/", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, new(caddyhttp.Server))
	if err := h.ServeHTTP(w, r, nil); err != nil || w.Code != http.StatusOK {
		b.Fatal(err, w.Code)
	}
}

// answering is a transport to an upstream that answers at once.
type answering struct{}

func (answering) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          io.NopCloser(strings.NewReader("{}")),
		ContentLength: 2,
	}, nil
}
