package handshake

import (
	"net/http"
	"slices"
	"strings"
)

// hopByHop are the fields that concern one connection only (RFC 9110 section
// 7.6.1), and the fields of a handshake that are made anew for the upstream.
var hopByHop = []string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings", "Content-Length",
	"Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Accept", ":protocol",
}

// isHopByHop reports whether a field is one of hopByHop, without regard to case.
func isHopByHop(name string) bool {
	_, found := hopByHopSet[http.CanonicalHeaderKey(name)]
	return found
}

var hopByHopSet = func() map[string]struct{} {
	set := make(map[string]struct{}, len(hopByHop))
	for _, name := range hopByHop {
		set[http.CanonicalHeaderKey(name)] = struct{}{}
	}
	return set
}()

// RemoveHopByHop removes the fields that concern one connection only, and the fields
// that Connection names.
func RemoveHopByHop(h http.Header) {
	if connection := h["Connection"]; !onlyUpgrade(connection) {
		for _, name := range ListOf(connection) {
			h.Del(name)
		}
	}
	for name := range h {
		if _, found := hopByHopSet[name]; found {
			delete(h, name)
		}
	}
}

// EndToEnd returns the header without the fields that RemoveHopByHop removes. The values
// are those of h: they may be replaced, and not written into.
func EndToEnd(h http.Header) http.Header {
	kept := make(http.Header, len(h))
	for name, values := range h {
		if _, found := hopByHopSet[name]; !found {
			kept[name] = values
		}
	}
	if connection := h["Connection"]; !onlyUpgrade(connection) {
		for _, name := range ListOf(connection) {
			kept.Del(name)
		}
	}
	return kept
}

// onlyUpgrade reports whether Connection names no field but Upgrade, as in almost every
// handshake.
func onlyUpgrade(connection []string) bool {
	return len(connection) == 1 && strings.EqualFold(connection[0], "Upgrade")
}

// negotiation are the fields in which the two sides agree on what they will speak.
var negotiation = []string{"Sec-Websocket-Protocol", "Sec-Websocket-Extensions"}

// RemoveNegotiated removes the fields of an answer that the handshake determines:
// header operations cannot change them.
func RemoveNegotiated(h http.Header) {
	for _, name := range hopByHop {
		delete(h, name)
	}
	for _, name := range negotiation {
		delete(h, name)
	}
}

// GuardConnection removes from Connection the names of fields that a client
// must not be able to have dropped: the handshake's and the forwarded ones.
func GuardConnection(h http.Header) {
	values := h["Connection"]
	if onlyUpgrade(values) {
		return
	}
	kept := make([]string, 0, 2)
	for _, name := range ListOf(values) {
		if !hasFoldedPrefix(name, "sec-websocket-") && !hasFoldedPrefix(name, "x-forwarded-") {
			kept = append(kept, name)
		}
	}
	if len(values) > 0 {
		h["Connection"] = []string{strings.Join(kept, ", ")}
	}
}

// Forget makes a plain request of a handshake that is refused, because error routes
// may lead to a proxy that would upgrade the connection.
func Forget(r *http.Request) {
	RemoveHopByHop(r.Header)
	for _, name := range negotiation {
		delete(r.Header, name)
	}
	if r.ProtoMajor == 3 {
		r.Proto = "HTTP/3.0"
	}
}

// ForgetOffer removes an offer to upgrade to another protocol, with its further
// fields, from a plain request over HTTP/1, such as the offer of Java's HttpClient to
// speak HTTP/2: a proxy would pass the offer on.
func ForgetOffer(h http.Header) {
	if h["Upgrade"] == nil && h["Http2-Settings"] == nil {
		return
	}
	delete(h, "Upgrade")
	delete(h, "Http2-Settings")
	options := slices.DeleteFunc(ListOf(h["Connection"]), func(option string) bool {
		return strings.EqualFold(option, "upgrade") || strings.EqualFold(option, "http2-settings")
	})
	if len(options) == 0 {
		delete(h, "Connection")
		return
	}
	h["Connection"] = []string{strings.Join(options, ", ")}
}

// DropEmptyOffer removes the fields of a handshake that offer nothing: an upstream
// might take an empty list for a malformed one.
func DropEmptyOffer(h http.Header) {
	for _, name := range negotiation {
		if h[name] != nil && len(ListOf(h[name])) == 0 {
			delete(h, name)
		}
	}
}

// ListOf splits the values of a header field that holds a list.
func ListOf(values []string) []string {
	var list []string
	for _, v := range values {
		for item := range strings.SplitSeq(v, ",") {
			if item = strings.TrimSpace(item); item != "" {
				list = append(list, item)
			}
		}
	}
	return list
}

// Fold maps the spellings of a header field name to one.
func Fold(name string) string { return string(AppendFold(nil, name)) }

// AppendFold appends what Fold returns to b.
func AppendFold(b []byte, name string) []byte {
	for i := range len(name) {
		b = append(b, folded(name[i]))
	}
	return b
}

// SameField reports whether two names are spellings of one.
func SameField(name, other string) bool {
	return len(name) == len(other) && hasFoldedPrefix(name, other)
}

// hasFoldedPrefix reports whether a name begins with another, however both are spelled.
func hasFoldedPrefix(name, prefix string) bool {
	if len(name) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if folded(name[i]) != folded(prefix[i]) {
			return false
		}
	}
	return true
}

func folded(c byte) byte {
	switch {
	case c == '_' || c == '.':
		return '-'
	case 'A' <= c && c <= 'Z':
		return c + ('a' - 'A')
	}
	return c
}
