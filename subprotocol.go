package wsgateway

import (
	"net/http"
	"slices"
	"strings"
)

// subprotocolCarrier is an entry of the offered subprotocols.
type subprotocolCarrier struct {
	marker  string
	markers []string // of all subprotocol carriers
}

func (c *subprotocolCarrier) find(r *http.Request) []string {
	lines := r.Header[protocolField]
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

func (c *subprotocolCarrier) strip(r *http.Request) {
	eachSpelling(r.Header, protocolField, func(field string) {
		if field != protocolField { // to a server that takes it for the field it may be a part of the list
			delete(r.Header, field)
		}
	})
	lines := r.Header[protocolField]
	if len(lines) == 0 {
		return
	}
	offered := siftProtocols(lines, c.markers)
	switch {
	case len(offered.tokens) == 0:
	case len(offered.kept) == 0:
		delete(r.Header, protocolField)
	default:
		r.Header[protocolField] = []string{strings.Join(offered.kept, ", ")}
	}
}

func (c *subprotocolCarrier) ambient() bool { return false }

func (c *subprotocolCarrier) key() string { return "subprotocol " + strings.ToLower(c.marker) }

// offeredProtocols is the offered subprotocols, taken apart.
type offeredProtocols struct {
	tokens []offeredToken
	kept   []string // what is left for the upstream, in order
}

type offeredToken struct {
	marker string // as it is configured
	token  string // "" where it is offered in a way that is not read
	entry  string // the marker as it is offered where it is an entry of its own, else ""
}

func (o *offeredProtocols) isToken(entry string) bool {
	return slices.ContainsFunc(o.tokens, func(t offeredToken) bool { return t.token == entry })
}

// siftProtocols separates tokens from protocols. A token that is offered a
// second time, as if it were a protocol, does not remain either. A marker
// that is the last entry has no token and is an ordinary protocol, as is one in
// front of another. Case does not matter in a marker, since it may not to the
// upstream.
func siftProtocols(lines, markers []string) offeredProtocols {
	entries := offeredEntries(lines)
	var offered offeredProtocols
	for i := 0; i < len(entries); i++ {
		marker, rest := cutMarker(entries[i], markers)
		switch {
		case marker == "":
			offered.kept = append(offered.kept, entries[i])
		case rest == "":
			if i+1 == len(entries) || isMarker(entries[i+1], markers) {
				offered.kept = append(offered.kept, entries[i])
				continue
			}
			offered.tokens = append(offered.tokens, offeredToken{marker: marker, token: entries[i+1], entry: entries[i]})
			i++
		case rest[0] == '.':
			offered.tokens = append(offered.tokens, offeredToken{marker: marker, token: rest[1:]})
		default: // a blank, which no protocol has in it
			offered.tokens = append(offered.tokens, offeredToken{marker: marker})
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

// cutMarker returns the longest of the markers that the entry is, or begins with
// in front of a dot or a blank, and the rest, from that on.
func cutMarker(entry string, markers []string) (marker, rest string) {
	for _, m := range markers {
		if len(m) <= len(marker) || len(entry) < len(m) || !strings.EqualFold(entry[:len(m)], m) {
			continue
		}
		if tail := entry[len(m):]; tail == "" || strings.ContainsAny(tail[:1], ". \t") {
			marker, rest = m, tail
		}
	}
	return marker, rest
}

func isMarker(entry string, markers []string) bool {
	marker, rest := cutMarker(entry, markers)
	return marker != "" && rest == ""
}
