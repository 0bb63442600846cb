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

// uriFields are those that may hold the request's URI, or that of the page: some
// are set by proxies in front.
var uriFields = []string{
	refererField, "X-Forwarded-Uri", "X-Original-Uri", "X-Original-Url", "X-Rewrite-Url", "X-Envoy-Original-Path",
}

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

// cookieCarrier is a cookie.
type cookieCarrier struct {
	name string
}

// maxCookies bounds how many cookies of one name are looked at. There are several
// where they were set for different paths or domains; which comes first is up to
// the browser.
const maxCookies = 4

func (c *cookieCarrier) find(r *http.Request) []string {
	var found []string
	n := 0
	for _, line := range r.Header[cookieField] {
		for pair := range strings.SplitSeq(line, ";") {
			name, value, _ := strings.Cut(pair, "=")
			if trimBlanks(name) != c.name {
				continue
			}
			if value = unquote(trimBlanks(value)); value == "" {
				continue
			}
			if n++; n > maxCookies {
				return found
			}
			found = append(found, value)
			// What a cookie may not hold, many encode.
			if decoded, err := url.PathUnescape(value); err == nil && decoded != value {
				found = append(found, decoded)
			}
		}
	}
	return found
}

func (c *cookieCarrier) strip(r *http.Request) {
	keepValues(r.Header, cookieField, func(line string) (string, bool) {
		var kept []string
		removed := false
		for pair := range strings.SplitSeq(line, ";") {
			rest := without(pair, ",", c.reads) // servers of old separate cookies by commas too
			if c.reads(pair) {
				rest = "" // the commas belong to the token
			}
			removed = removed || rest != pair
			if rest = trimBlanks(rest); rest != "" {
				kept = append(kept, rest)
			}
		}
		if !removed {
			return line, true
		}
		return strings.Join(kept, "; "), len(kept) > 0
	})
}

// reads tells whether some server reads this pair for the cookie.
func (c *cookieCarrier) reads(pair string) bool {
	name, _, _ := strings.Cut(pair, "=")
	return trimBlanks(name) == c.name || foldParameter(name) == foldParameter(c.name)
}

func (c *cookieCarrier) ambient() bool { return true }

func (c *cookieCarrier) key() string { return "cookie " + c.name }

// queryCarrier is a parameter in the query of the request's URI.
type queryCarrier struct {
	name string
}

func (c *queryCarrier) find(r *http.Request) []string {
	if r.URL.RawQuery == "" {
		return nil
	}
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if !c.named(name) || value == "" {
			continue
		}
		decoded, err := url.QueryUnescape(value)
		if err != nil {
			return []string{value}
		}
		// Not all encode a plus, which in a form is a blank and else itself.
		if plain, err := url.PathUnescape(value); err == nil && plain != decoded {
			return []string{decoded, plain}
		}
		return []string{decoded}
	}
	return nil
}

func (c *queryCarrier) strip(r *http.Request) {
	if rest, changed := c.removeFrom(r.URL.RawQuery); changed {
		stripped := *r.URL
		stripped.RawQuery = rest
		r.URL = &stripped
	}
	r.RequestURI = c.removeFromURI(r.RequestURI)
	for _, field := range uriFields {
		eachSpelling(r.Header, field, func(field string) {
			keepValues(r.Header, field, func(value string) (string, bool) {
				return c.removeFromURI(value), true
			})
		})
	}
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
		rest := without(pair, ";", c.reads) // servers of old separate pairs by semicolons too
		if c.reads(pair) {
			rest = "" // the semicolons belong to the token
		}
		if rest == pair {
			kept = append(kept, pair)
			continue
		}
		changed = true
		if rest != "" {
			kept = append(kept, rest)
		}
	}
	if !changed {
		return query, false
	}
	return strings.Join(kept, "&"), true
}

// reads tells whether some server reads this pair for the parameter.
func (c *queryCarrier) reads(pair string) bool {
	name, _, _ := strings.Cut(pair, "=")
	return c.named(name) || foldParameter(name) == foldParameter(c.name)
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
	folded := fold(field)
	for name := range header {
		if len(name) == len(field) && fold(name) == folded {
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

// foldParameter maps the spellings of the name of a cookie or a query parameter
// that some server takes for the same to one: encoded, in any case, with dots
// and blanks for underscores, and with brackets that make a list of it.
func foldParameter(name string) string {
	if decoded, err := url.QueryUnescape(name); err == nil {
		name = decoded
	}
	if end := strings.IndexAny(name, "[\x00"); end > 0 {
		name = name[:end]
	}
	return asUnderscore.Replace(strings.ToLower(strings.TrimSpace(name)))
}

var asUnderscore = strings.NewReplacer(".", "_", " ", "_")

func trimBlanks(s string) string { return strings.Trim(s, " \t") }

func unquote(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}
