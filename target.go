package wsgateway

import (
	"net/http"
	"net/url"
	"strings"
)

// checkTarget refuses a request whose target is no path (RFC 9112 section 3.2):
// what decides by paths in front, matchers and the authentication of other routes,
// has not seen one, while an upstream may make one of what it is sent.
func checkTarget(r *http.Request, what kind) (kind, *refusal) {
	reason := misshapen(r)
	switch {
	case reason == "":
		return what, nil
	case what == handshakeRequest:
		what = brokenHandshake
	default:
		what = malformedRequest
	}
	return what, badHandshake(http.StatusBadRequest, reason)
}

// misshapen says what is wrong with the target of a request, as it was sent and as
// handlers in front may have rewritten it; "" for nothing.
func misshapen(r *http.Request) string {
	sent := r.URL
	if or, ok := originalOf(r); ok {
		sent = or.URL
	}
	switch {
	case sent.Opaque != "", r.URL.Opaque != "", !strings.HasPrefix(sent.Path, "/"):
		return "its target is not a path"
	case r.URL.Path != "" && r.URL.Path[0] != '/':
		return "its target is not a path any more, as handlers in front have changed it"
	case sent.Scheme != "" && sent.Host == "":
		return "its target is a URL without a host"
	case r.ProtoMajor >= 2 && (sent.Scheme != "" || sent.Host != ""):
		return "its :path is a URL"
	case sent.User != nil:
		return "its target names a user" // RFC 9110 section 4.2.4
	}
	return ""
}

// forgetTarget makes an ordinary target of one that is refused, for error routes
// may lead to a proxy that would pass it on.
func forgetTarget(r *http.Request) {
	*r.URL = url.URL{Path: "/"}
	if or, ok := originalOf(r); ok {
		*or.URL = url.URL{Path: "/"}
	}
}
