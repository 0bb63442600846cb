package carrier

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
)

// subprotocolCarrier is a token among the offered subprotocols, behind a marker.
type subprotocolCarrier struct {
	marker  marker
	markers []marker // of all subprotocol carriers
}

// marker is the name in front of a token among the offered subprotocols.
type marker struct {
	name      string
	base64url bool // the token is encoded, and may follow without a dot
}

func (c *subprotocolCarrier) find(r *http.Request) []string {
	lines := r.Header[ProtocolField]
	if len(lines) == 0 {
		return nil
	}
	for _, t := range siftProtocols(lines, c.markers).tokens {
		if t.marker == c.marker && t.token != "" {
			return []string{t.token}
		}
	}
	return nil
}

// rawOf implements carrier: it is the whole offer without the other tokens.
func (c *subprotocolCarrier) rawOf(r *http.Request, token string) string {
	offered := siftProtocols(r.Header[ProtocolField], c.markers)
	for _, t := range offered.tokens {
		if t.marker == c.marker && t.token == token {
			at := min(t.at, len(offered.kept))
			return strings.Join(slices.Insert(slices.Clone(offered.kept), at, t.entries...), ", ")
		}
	}
	return ""
}

func (c *subprotocolCarrier) put(r *http.Request, raw string) {
	r.Header[ProtocolField] = []string{raw}
}

// reveals reports whether the token of such an offer is in one of its entries.
func (c *subprotocolCarrier) reveals(raw, entry string) bool {
	offered := siftProtocols([]string{raw}, c.markers)
	return slices.ContainsFunc(offered.tokens, func(t offeredToken) bool {
		return t.entries[len(t.entries)-1] == entry
	})
}

func (c *subprotocolCarrier) strip(r *http.Request) {
	EachSpelling(r.Header, ProtocolField, func(field string) {
		if field != ProtocolField { // a server may take it for the field, and its value for a part of the list
			delete(r.Header, field)
		}
	})
	lines := r.Header[ProtocolField]
	if len(lines) == 0 {
		return
	}
	offered := siftProtocols(lines, c.markers)
	switch {
	case len(offered.tokens) == 0:
	case len(offered.kept) == 0:
		delete(r.Header, ProtocolField)
	default:
		r.Header[ProtocolField] = []string{strings.Join(offered.kept, ", ")}
	}
}

func (c *subprotocolCarrier) ambient() bool { return false }

func (c *subprotocolCarrier) key() string { return "subprotocol " + strings.ToLower(c.marker.name) }

// offeredProtocols are the offered subprotocols, taken apart.
type offeredProtocols struct {
	tokens []offeredToken
	kept   []string // the subprotocols for the upstream, in order
}

type offeredToken struct {
	marker marker
	text   string // the token as it is offered; "" where it is offered in a way that is not read
	token  string // text, decoded

	entries []string // as offered: a marker and a token, or both in one
	at      int      // how many subprotocols are in front of the token
}

// ownMarker is the marker as it is offered where it is an entry of its own.
func (t offeredToken) ownMarker() (string, bool) { return t.entries[0], len(t.entries) > 1 }

func newOfferedToken(m marker, text string, at int, entries ...string) offeredToken {
	t := offeredToken{marker: m, text: text, token: text, at: at, entries: entries}
	if m.base64url {
		// A text that cannot be decoded is a bad token, and not a missing one.
		if decoded, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "=")); err == nil {
			t.token = string(decoded)
		}
	}
	return t
}

func (o *offeredProtocols) isToken(entry string) bool {
	return slices.ContainsFunc(o.tokens, func(t offeredToken) bool { return t.text == entry })
}

// siftProtocols separates tokens from subprotocols. A token that is offered a second
// time, as if it were a subprotocol, does not remain either. A marker that is the last
// entry, or in front of another marker, has no token and is an ordinary subprotocol.
// Markers are compared without regard to case, because upstreams may do so too.
func siftProtocols(lines []string, markers []marker) offeredProtocols {
	entries := offeredEntries(lines)
	var offered offeredProtocols
	for i := 0; i < len(entries); i++ {
		m, rest, found := cutMarker(entries[i], markers)
		at := len(offered.kept)
		switch {
		case !found:
			offered.kept = append(offered.kept, entries[i])
		case rest == "":
			if i+1 == len(entries) || isMarker(entries[i+1], markers) {
				offered.kept = append(offered.kept, entries[i])
				continue
			}
			offered.tokens = append(offered.tokens, newOfferedToken(m, entries[i+1], at, entries[i], entries[i+1]))
			i++
		case rest[0] == ' ' || rest[0] == '\t': // blanks, which no subprotocol has in it
			offered.tokens = append(offered.tokens, newOfferedToken(m, "", at, entries[i]))
		default:
			offered.tokens = append(offered.tokens, newOfferedToken(m, strings.TrimPrefix(rest, "."), at, entries[i]))
		}
	}
	offered.kept = slices.DeleteFunc(offered.kept, offered.isToken)
	return offered
}

func offeredEntries(lines []string) []string {
	var entries []string
	for _, line := range lines {
		for entry := range strings.SplitSeq(line, ",") {
			if entry = trimBlanks(entry); entry != "" {
				entries = append(entries, entry)
			}
		}
	}
	return entries
}

// cutMarker returns the longest marker that the entry is or begins with, and the rest
// of the entry. A marker at the beginning is followed by a dot, by a blank, or by an
// encoded token.
func cutMarker(entry string, markers []marker) (longest marker, rest string, found bool) {
	for _, m := range markers {
		n := len(m.name)
		if n <= len(longest.name) || len(entry) < n || !strings.EqualFold(entry[:n], m.name) {
			continue
		}
		if tail := entry[n:]; tail == "" || m.base64url || strings.ContainsAny(tail[:1], ". \t") {
			longest, rest, found = m, tail, true
		}
	}
	return longest, rest, found
}

func isMarker(entry string, markers []marker) bool {
	_, rest, found := cutMarker(entry, markers)
	return found && rest == ""
}
