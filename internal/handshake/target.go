package handshake

import (
	"net/http"
	"net/url"
	"strings"
)

// CheckTarget refuses a request whose target is no path (RFC 9112 section 3.2):
// matchers and the authentication of other routes, which decide by the path, have not
// seen one, while an upstream may make a path of the target. sent is the target as the
// client sent it, and what is the kind of the request so far.
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

// Misshapen returns the fault of a request's target, as the client sent it and as
// handlers in front may have rewritten it; "" for none.
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
