package handshake

import (
	"net/http"
	"net/url"
	"testing"
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
				r.URL = &url.URL{Path: "/elsewhere"}
			}
			for what, refused := range map[Kind]Kind{Plain: Malformed, Sound: Broken} {
				want, status := what, 0
				if !ok {
					want, status = refused, http.StatusBadRequest
				}
				if got, fault := CheckTarget(r, u, what); got != want || fault.Status != status {
					t.Errorf("%s (rewritten: %t): kind %d and status %d, want %d and %d", target, rewritten, got, fault.Status, want, status)
				}
			}
		}
	}
}

func TestTargetThatWasRewrittenToNoPathIsRefused(t *testing.T) {
	t.Parallel()
	for path, ok := range map[string]bool{"": true, "/x": true, "x": false} {
		r := &http.Request{Method: http.MethodGet, ProtoMajor: 1, URL: &url.URL{Path: path}}
		if reason := Misshapen(r, &url.URL{Path: "/ws"}); (reason == "") != ok {
			t.Errorf("%q: %q", path, reason)
		}
	}
}

func TestPathOverHTTP2IsNoURL(t *testing.T) {
	t.Parallel()
	for major, ok := range map[int]bool{1: true, 2: false, 3: false} {
		u, _ := url.ParseRequestURI("http://h/ws")
		if reason := Misshapen(&http.Request{ProtoMajor: major, URL: u}, u); (reason == "") != ok {
			t.Errorf("HTTP/%d: %q", major, reason)
		}
	}
}
