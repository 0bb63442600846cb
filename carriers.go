package wsgateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// The header fields that carriers read and rewrite, as net/http's servers
// spell them.
const (
	protocolField = "Sec-Websocket-Protocol"
	cookieField   = "Cookie"
	refererField  = "Referer"
)

// carrier is one place in a request where a token may be. It knows nothing of
// which tokens are good.
type carrier interface {
	// find returns the first token that is not empty, or "".
	find(r *http.Request) string

	// strip removes everything that find may return, and the carrier itself
	// where its token is empty. It replaces values and never writes into them,
	// so that a shallow copy of the request with a header of its own is safe.
	strip(r *http.Request)

	// ambient tells whether browsers attach this credential to requests that
	// other sites cause.
	ambient() bool

	// key is the same for two carriers that look at the same thing.
	key() string
}

// newCarrier compiles one configured place.
func newCarrier(config TokenCarrier) (carrier, error) {
	if config.Scheme != "" && config.From != "header" {
		return nil, errors.New("scheme is for header only: remove it")
	}
	name := config.Name
	switch config.From {
	case "header":
		return newHeaderCarrier(name, config.Scheme)
	case "cookie":
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, fmt.Errorf("name %q is not the name of a cookie: give one such as \"session\"", name)
		}
		return &cookieCarrier{name: name}, nil
	case "query":
		if name == "" || hasControlChars(name) || strings.ContainsAny(name, "{}") {
			return nil, fmt.Errorf("name %q is not the name of a query parameter: give one such as \"token\"", name)
		}
		return &queryCarrier{name: name}, nil
	case "subprotocol":
		if name == "" {
			name = "bearer"
		}
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, fmt.Errorf("name %q cannot be a subprotocol: give a marker of letters, digits and dots", name)
		}
		return &subprotocolCarrier{marker: name}, nil
	default:
		return nil, fmt.Errorf("from %q is unknown: use header, cookie, query or subprotocol", config.From)
	}
}

// headerCarrier is a field that holds "<scheme> <token>", or the token alone
// where scheme is empty.
type headerCarrier struct {
	field  string
	scheme string
}

func newHeaderCarrier(name, scheme string) (carrier, error) {
	if name == "" {
		name = "Authorization"
	}
	if !httpguts.ValidHeaderFieldName(name) {
		return nil, fmt.Errorf("name %q is not the name of a header field", name)
	}
	if scheme != "" && !httpguts.ValidHeaderFieldName(scheme) {
		return nil, fmt.Errorf("scheme %q is not an authentication scheme: give one word such as \"Bearer\"", scheme)
	}
	field := http.CanonicalHeaderKey(name)
	switch field {
	case cookieField:
		return nil, errors.New("the Cookie header holds many cookies: use from cookie, and the name of the one")
	case protocolField:
		return nil, errors.New("the Sec-WebSocket-Protocol header holds a list: use from subprotocol")
	case "Host", "Connection", "Upgrade", "Origin", "Transfer-Encoding", "Content-Length",
		"Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Extensions":
		return nil, fmt.Errorf("the %s header belongs to the handshake: send the token in another", name)
	case "Authorization":
		if scheme == "" {
			scheme = "Bearer"
		}
	}
	return &headerCarrier{field: field, scheme: scheme}, nil
}

func (c *headerCarrier) find(r *http.Request) string {
	for _, value := range r.Header[c.field] {
		if token, ours := c.token(value); ours && token != "" {
			return token
		}
	}
	return ""
}

func (c *headerCarrier) strip(r *http.Request) {
	keepValues(r.Header, c.field, func(value string) (string, bool) {
		_, ours := c.token(value)
		return value, !ours
	})
}

// token returns what value holds, and whether it is ours at all: credentials
// of another scheme are not.
func (c *headerCarrier) token(value string) (token string, ours bool) {
	value = trimBlanks(value)
	if c.scheme == "" {
		return value, true
	}
	scheme, rest := value, ""
	if i := strings.IndexAny(value, " \t"); i >= 0 {
		scheme, rest = value[:i], value[i:]
	}
	if !strings.EqualFold(scheme, c.scheme) {
		return "", false
	}
	return trimBlanks(rest), true
}

// ambient is true for the schemes whose credentials a browser remembers and
// attaches by itself.
func (c *headerCarrier) ambient() bool {
	return c.field == "Authorization" && slices.ContainsFunc(
		[]string{"Basic", "Digest", "Negotiate", "NTLM"},
		func(scheme string) bool { return strings.EqualFold(scheme, c.scheme) })
}

func (c *headerCarrier) key() string {
	return "header " + c.field + " " + strings.ToLower(c.scheme)
}

// cookieCarrier is a cookie.
type cookieCarrier struct {
	name string
}

func (c *cookieCarrier) find(r *http.Request) string {
	for _, line := range r.Header[cookieField] {
		for pair := range strings.SplitSeq(line, ";") {
			name, value, _ := strings.Cut(pair, "=")
			if trimBlanks(name) != c.name {
				continue
			}
			if value = unquote(trimBlanks(value)); value != "" {
				return value
			}
		}
	}
	return ""
}

func (c *cookieCarrier) strip(r *http.Request) {
	keepValues(r.Header, cookieField, func(line string) (string, bool) {
		var kept []string
		removed := false
		for pair := range strings.SplitSeq(line, ";") {
			name, _, _ := strings.Cut(pair, "=")
			switch {
			case trimBlanks(name) == c.name:
				removed = true
			case trimBlanks(pair) != "":
				kept = append(kept, trimBlanks(pair))
			}
		}
		if !removed {
			return line, true
		}
		return strings.Join(kept, "; "), len(kept) > 0
	})
}

func (c *cookieCarrier) ambient() bool { return true }

func (c *cookieCarrier) key() string { return "cookie " + c.name }

// queryCarrier is a parameter in the query of the request's URI.
type queryCarrier struct {
	name string
}

func (c *queryCarrier) find(r *http.Request) string {
	if r.URL.RawQuery == "" {
		return ""
	}
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if !c.named(name) {
			continue
		}
		if decoded, err := url.QueryUnescape(value); err == nil {
			value = decoded
		}
		if value != "" {
			return value
		}
	}
	return ""
}

func (c *queryCarrier) strip(r *http.Request) {
	if rest, changed := c.removeFrom(r.URL.RawQuery); changed {
		stripped := *r.URL
		stripped.RawQuery = rest
		r.URL = &stripped
	}
	r.RequestURI = c.removeFromURI(r.RequestURI)
	keepValues(r.Header, refererField, func(value string) (string, bool) {
		return c.removeFromURI(value), true
	})
}

func (c *queryCarrier) removeFromURI(uri string) string {
	path, query, _ := strings.Cut(uri, "?")
	rest, changed := c.removeFrom(query)
	switch {
	case !changed:
		return uri
	case rest == "":
		return path
	default:
		return path + "?" + rest
	}
}

// removeFrom cuts the parameter out of a query and leaves the other pairs as
// they are, because the upstream may sign or parse them in its own way.
func (c *queryCarrier) removeFrom(query string) (rest string, changed bool) {
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if c.named(name) {
			changed = true
		} else {
			kept = append(kept, pair)
		}
	}
	if !changed {
		return query, false
	}
	return strings.Join(kept, "&"), true
}

func (c *queryCarrier) named(encoded string) bool {
	if encoded == c.name {
		return true
	}
	name, err := url.QueryUnescape(encoded)
	return err == nil && name == c.name
}

func (c *queryCarrier) ambient() bool { return false }

func (c *queryCarrier) key() string { return "query " + c.name }

// subprotocolCarrier is an entry of the offered subprotocols.
type subprotocolCarrier struct {
	marker  string
	markers []string // of all subprotocol carriers
}

func (c *subprotocolCarrier) find(r *http.Request) string {
	lines := r.Header[protocolField]
	if len(lines) == 0 {
		return ""
	}
	for _, t := range siftProtocols(lines, c.markers).tokens {
		if t.marker == c.marker && t.token != "" {
			return t.token
		}
	}
	return ""
}

func (c *subprotocolCarrier) strip(r *http.Request) {
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

func (c *subprotocolCarrier) key() string { return "subprotocol " + c.marker }

// offeredProtocols is the offered subprotocols, taken apart.
type offeredProtocols struct {
	tokens []offeredToken
	kept   []string // what is left for the upstream, in order
}

type offeredToken struct {
	marker   string
	token    string
	ownEntry bool // "marker, token" and not "marker.token"
}

func (o *offeredProtocols) isToken(entry string) bool {
	return slices.ContainsFunc(o.tokens, func(t offeredToken) bool { return t.token == entry })
}

// siftProtocols separates tokens from protocols. A token that is offered a
// second time, as if it were a protocol, does not remain either. A marker
// that is the last entry has no token and is an ordinary protocol.
func siftProtocols(lines, markers []string) offeredProtocols {
	var entries []string
	for _, line := range lines {
		for entry := range strings.SplitSeq(line, ",") {
			if entry = trimBlanks(entry); entry != "" {
				entries = append(entries, entry)
			}
		}
	}
	var offered offeredProtocols
	for i := 0; i < len(entries); i++ {
		entry := entries[i]
		if i+1 < len(entries) && slices.Contains(markers, entry) {
			i++
			offered.tokens = append(offered.tokens, offeredToken{marker: entry, token: entries[i], ownEntry: true})
			continue
		}
		if marker, ok := dottedMarker(entry, markers); ok {
			token := entry[len(marker)+1:]
			offered.tokens = append(offered.tokens, offeredToken{marker: marker, token: token})
			continue
		}
		offered.kept = append(offered.kept, entry)
	}
	offered.kept = slices.DeleteFunc(offered.kept, offered.isToken)
	return offered
}

func dottedMarker(entry string, markers []string) (string, bool) {
	for _, marker := range markers {
		if rest, ok := strings.CutPrefix(entry, marker); ok && strings.HasPrefix(rest, ".") {
			return marker, true
		}
	}
	return "", false
}

// keepValues replaces the values of a field by what edit makes of them, drops
// those that edit does not keep, and drops the field when none is left.
func keepValues(header http.Header, field string, edit func(string) (string, bool)) {
	values := header[field]
	if len(values) == 0 {
		return
	}
	kept := make([]string, 0, len(values))
	for _, value := range values {
		if edited, keep := edit(value); keep {
			kept = append(kept, edited)
		}
	}
	if len(kept) == 0 {
		delete(header, field)
		return
	}
	header[field] = kept
}

func trimBlanks(s string) string { return strings.Trim(s, " \t") }

func unquote(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}
