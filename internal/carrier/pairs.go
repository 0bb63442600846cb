package carrier

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// uriFields are the header fields that may hold the URI of the request, or of the page
// that it comes from. Some are set by proxies in front.
var uriFields = []string{
	refererField, "X-Forwarded-Uri", "X-Original-Uri", "X-Original-Url", "X-Rewrite-Url", "X-Envoy-Original-Path",
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
	c.each(r, func(_, value string) { found = append(found, cookieReadings(value)...) })
	return found
}

func (c *cookieCarrier) rawOf(r *http.Request, token string) (raw string) {
	c.each(r, func(pair, value string) {
		if raw == "" && slices.Contains(cookieReadings(value), token) {
			raw = pair
		}
	})
	return raw
}

func (c *cookieCarrier) put(r *http.Request, raw string) {
	lines := r.Header[CookieField]
	if last := len(lines) - 1; last >= 0 && lines[last] != "" {
		raw = lines[last] + "; " + raw
		lines = lines[:last:last]
	}
	r.Header[CookieField] = append(slices.Clip(lines), raw)
}

// each calls visit for the first cookies of the name that are not empty.
func (c *cookieCarrier) each(r *http.Request, visit func(pair, value string)) {
	n := 0
	for _, line := range r.Header[CookieField] {
		for pair := range strings.SplitSeq(line, ";") {
			name, value, _ := strings.Cut(pair, "=")
			if value = unquote(trimBlanks(value)); trimBlanks(name) != c.name || value == "" {
				continue
			}
			if n++; n > maxCookies {
				return
			}
			visit(trimBlanks(pair), value)
		}
	}
}

// cookieReadings are the tokens that the value of a cookie may mean: many clients
// encode the characters that a cookie may not hold.
func cookieReadings(value string) []string {
	if decoded, err := url.PathUnescape(value); err == nil && decoded != value {
		return []string{value, decoded}
	}
	return []string{value}
}

func (c *cookieCarrier) strip(r *http.Request) {
	keepValues(r.Header, CookieField, func(line string) (string, bool) {
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

// reads reports whether some server reads this pair for the cookie.
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
	_, value := c.first(r)
	return queryReadings(value)
}

func (c *queryCarrier) rawOf(r *http.Request, _ string) string {
	pair, _ := c.first(r)
	return pair
}

func (c *queryCarrier) put(r *http.Request, raw string) {
	changed := *r.URL
	changed.RawQuery = strings.TrimPrefix(changed.RawQuery+"&"+raw, "&")
	r.URL = &changed
}

// first returns the first pair whose value is not empty.
func (c *queryCarrier) first(r *http.Request) (pair, value string) {
	if r.URL.RawQuery == "" {
		return "", ""
	}
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		if name, value, _ := strings.Cut(pair, "="); value != "" && c.named(name) {
			return pair, value
		}
	}
	return "", ""
}

// queryReadings are the tokens that the value of a parameter may mean: not all clients
// encode a plus, which means a blank in a form, and a plus elsewhere.
func queryReadings(value string) []string {
	if value == "" {
		return nil
	}
	decoded, err := url.QueryUnescape(value)
	if err != nil {
		return []string{value}
	}
	if plain, err := url.PathUnescape(value); err == nil && plain != decoded {
		return []string{decoded, plain}
	}
	return []string{decoded}
}

func (c *queryCarrier) strip(r *http.Request) {
	if rest, changed := c.removeFrom(r.URL.RawQuery); changed {
		stripped := *r.URL
		stripped.RawQuery = rest
		r.URL = &stripped
	}
	r.RequestURI = c.removeFromURI(r.RequestURI)
	for _, field := range uriFields {
		EachSpelling(r.Header, field, func(field string) {
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

// reads reports whether some server reads this pair for the parameter.
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

func unquote(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}
