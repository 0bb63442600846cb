package wsgateway

import (
	"context"
	"net/http"
	"net/url"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestTargetMustBeAPathAsItWasSent(t *testing.T) {
	t.Parallel()
	for target, ok := range map[string]bool{
		"/": true, "/ws?a=b": true, "//ws": true, "/*": true, "http://h/ws": true, "ws://h/ws": true, "/ws#a": true,
		"*": false, "x:http://h/admin": false, "x:admin": false, "x:/admin": false, "http://h": false, "http://h?a": false, "http://u@h/": false,
	} {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Fatal(err)
		}
		for _, rewritten := range []bool{false, true} {
			r := &http.Request{Method: http.MethodGet, ProtoMajor: 1, URL: u, RequestURI: target}
			if rewritten { // as by a rewrite in front
				r = r.WithContext(context.WithValue(t.Context(), caddyhttp.OriginalRequestCtxKey, http.Request{URL: u}))
				r.URL = &url.URL{Path: "/elsewhere"}
			}
			for what, refused := range map[kind]kind{plainRequest: malformedRequest, handshakeRequest: brokenHandshake} {
				want, status := what, 0
				if !ok {
					want, status = refused, http.StatusBadRequest
				}
				if got, rf := checkTarget(r, what); got != want || statusOf(rf) != status {
					t.Errorf("%s (rewritten: %t): kind %d and status %d, want %d and %d", target, rewritten, got, statusOf(rf), want, status)
				}
			}
		}
	}
}

func TestTargetThatWasRewrittenToNoPathIsRefused(t *testing.T) {
	t.Parallel()
	for path, ok := range map[string]bool{"": true, "/x": true, "x": false} {
		r := &http.Request{Method: http.MethodGet, ProtoMajor: 1, URL: &url.URL{Path: path}}
		r = r.WithContext(context.WithValue(t.Context(), caddyhttp.OriginalRequestCtxKey, http.Request{URL: &url.URL{Path: "/ws"}}))
		if reason := misshapen(r); (reason == "") != ok {
			t.Errorf("%q: %q", path, reason)
		}
	}
}

func TestPathOverHTTP2IsNoURL(t *testing.T) {
	t.Parallel()
	for major, ok := range map[int]bool{1: true, 2: false, 3: false} {
		u, _ := url.ParseRequestURI("http://h/ws")
		if reason := misshapen(&http.Request{ProtoMajor: major, URL: u}); (reason == "") != ok {
			t.Errorf("HTTP/%d: %q", major, reason)
		}
	}
}
