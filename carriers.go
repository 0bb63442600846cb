package wsgateway

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
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
	// find returns the token, and whatever else it may be where there are several
	// or where it may be encoded; nothing where it is empty or not there.
	find(r *http.Request) []string

	// strip removes everything that find may return, and the carrier itself
	// where its token is empty; and what an upstream may read there, although
	// find does not, because it takes other spellings for the same. It replaces
	// values and never writes into them, so that a shallow copy of the request
	// with a header of its own is safe.
	strip(r *http.Request)

	// rawOf returns what stands in r for a token that find returned, and put adds
	// that to a request of the same kind whose header is its own.
	rawOf(r *http.Request, token string) string
	put(r *http.Request, raw string)

	// ambient tells whether browsers attach this credential to requests that
	// other sites cause.
	ambient() bool

	// key is the same for two carriers that look at the same thing.
	key() string
}

// newCarrier compiles one configured place.
func newCarrier(config TokenCarrier) (carrier, error) {
	switch {
	case config.Scheme != "" && config.From != "header":
		return nil, errors.New("scheme is for header only: remove it")
	case config.Base64URL && config.From != "subprotocol":
		return nil, errors.New("base64url is for subprotocol only: remove it")
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
		return &subprotocolCarrier{marker: marker{name, config.Base64URL}}, nil
	default:
		return nil, fmt.Errorf("from %q is unknown: use header, cookie, query or subprotocol", config.From)
	}
}

// carrierSet is the configured carriers in their order.
type carrierSet struct {
	carriers []carrier
	markers  []marker // those of the subprotocol carriers
}

// newCarrierSet compiles the configured places; none means the Authorization
// header with the Bearer scheme.
func newCarrierSet(configs []TokenCarrier) (*carrierSet, error) {
	if len(configs) == 0 {
		configs = []TokenCarrier{{From: "header"}}
	}
	set := new(carrierSet)
	seen := make(map[string]int, len(configs))
	for i, config := range configs {
		c, err := newCarrier(config)
		if err != nil {
			return nil, fmt.Errorf("auth.token[%d]: %w", i, err)
		}
		if first, again := seen[c.key()]; again {
			return nil, fmt.Errorf("auth.token[%d]: the same carrier as auth.token[%d]: remove one", i, first)
		}
		seen[c.key()] = i
		set.carriers = append(set.carriers, c)
		if s, ok := c.(*subprotocolCarrier); ok {
			set.markers = append(set.markers, s.marker)
		}
	}
	// A marker of one carrier must not be taken for the token of another, so
	// each of them knows all.
	for _, c := range set.carriers {
		if s, ok := c.(*subprotocolCarrier); ok {
			s.markers = set.markers
		}
	}
	return set, nil
}

// find returns what may be the token that decides, and where it came. There is
// none where no carrier holds one.
func (s *carrierSet) find(r *http.Request) (tokens []string, from carrier) {
	for _, c := range s.carriers {
		if tokens = c.find(r); len(tokens) > 0 {
			return tokens, c
		}
	}
	return nil, nil
}

// appendTokens appends whatever the carriers hold.
func (s *carrierSet) appendTokens(tokens []string, r *http.Request) []string {
	for _, c := range s.carriers {
		tokens = append(tokens, c.find(r)...)
	}
	return tokens
}

func (s *carrierSet) strip(r *http.Request) {
	for _, c := range s.carriers {
		c.strip(r)
	}
}

// fallbackProtocol is the offered subprotocol to select where the upstream
// chooses none: a browser gives up unless one of those it offered is selected.
// It is empty where no token was offered, because then the upstream saw the
// whole offer and its silence counts, and where nothing but tokens was offered,
// which it says. Which carrier decided does not matter, because all of them are
// stripped.
func (s *carrierSet) fallbackProtocol(r *http.Request) (name string, nothingElse bool) {
	if len(s.markers) == 0 {
		return "", false
	}
	offered := siftProtocols(r.Header[protocolField], s.markers)
	if len(offered.tokens) == 0 {
		return "", false
	}
	for _, name := range offered.kept {
		if httpguts.ValidHeaderFieldName(name) {
			return name, false
		}
	}
	for _, t := range offered.tokens {
		if marker, own := t.ownMarker(); own && !offered.isToken(marker) {
			return marker, false
		}
	}
	return "", true
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

func (c *headerCarrier) find(r *http.Request) []string {
	for _, value := range r.Header[c.field] {
		if token, ours := c.token(value); ours && token != "" {
			return []string{token}
		}
	}
	return nil
}

func (c *headerCarrier) rawOf(r *http.Request, token string) string {
	for _, value := range r.Header[c.field] {
		if found, ours := c.token(value); ours && found == token {
			return value
		}
	}
	return ""
}

func (c *headerCarrier) put(r *http.Request, raw string) {
	r.Header[c.field] = append(slices.Clip(r.Header[c.field]), raw)
}

func (c *headerCarrier) strip(r *http.Request) {
	eachSpelling(r.Header, c.field, func(field string) {
		keepValues(r.Header, field, func(value string) (string, bool) {
			if _, ours := c.token(value); ours {
				return "", false
			}
			return c.withoutListed(value), true
		})
	})
}

// withoutListed cuts our credentials out of a value that begins with those of
// another scheme: whoever joins the lines of a field makes a list of them.
func (c *headerCarrier) withoutListed(value string) string {
	return without(value, ",", func(item string) bool {
		_, ours := c.token(item)
		return ours
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

// eachSpelling calls do for every field whose name servers take for that of
// field. do may delete it.
func eachSpelling(header http.Header, field string, do func(field string)) {
	folded := handshake.Fold(field)
	for name := range header {
		if len(name) == len(field) && handshake.Fold(name) == folded {
			do(name)
		}
	}
}

// without leaves out the items of a list that ours says are ours.
func without(list, separator string, ours func(item string) bool) string {
	var kept []string
	n := 0
	for item := range strings.SplitSeq(list, separator) {
		n++
		if !ours(item) {
			kept = append(kept, item)
		}
	}
	if len(kept) == n {
		return list
	}
	return strings.Join(kept, separator)
}

func trimBlanks(s string) string { return strings.Trim(s, " \t") }
