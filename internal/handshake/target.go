package handshake

import (
	"net/http"
	"net/url"
	"strings"
)

// CheckTarget refuses a request whose target is no path (RFC 9112 section 3.2):
// what decides by paths in front, matchers and the authentication of other routes,
// has not seen one, while an upstream may make one of what it is sent. sent is the
// target as it came, and what the kind of the request so far.
func CheckTarget(r *http.Request, sent *url.URL, what Kind) (Kind, Fault) {
	reason := Misshapen(r, sent)
	switch {
	case reason == "":
		return what, Fault{}
	case what == Sound:
		what = Broken
	default:
		what = Malformed
	}
	return what, Fault{http.StatusBadRequest, reason}
}

// Misshapen says what is wrong with the target of a request, as it was sent and as
// handlers in front may have rewritten it; "" for nothing.
func Misshapen(r *http.Request, sent *url.URL) string {
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
