package carrier

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

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
	case CookieField:
		return nil, errors.New("the Cookie header holds many cookies: use from cookie, and the name of the one")
	case ProtocolField:
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
	EachSpelling(r.Header, c.field, func(field string) {
		keepValues(r.Header, field, func(value string) (string, bool) {
			if _, ours := c.token(value); ours {
				return "", false
			}
			return c.withoutListed(value), true
		})
	})
}

// withoutListed cuts our credentials out of a value that begins with credentials of
// another scheme: a server that joins the lines of a field makes a list of them.
func (c *headerCarrier) withoutListed(value string) string {
	return without(value, ",", func(item string) bool {
		_, ours := c.token(item)
		return ours
	})
}

// token returns the token in value. ours is false where value holds credentials of
// another scheme.
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

// ambient is true for the schemes with credentials that a browser remembers and
// attaches by itself.
func (c *headerCarrier) ambient() bool {
	return c.field == "Authorization" && slices.ContainsFunc(
		[]string{"Basic", "Digest", "Negotiate", "NTLM"},
		func(scheme string) bool { return strings.EqualFold(scheme, c.scheme) })
}

func (c *headerCarrier) key() string {
	return "header " + c.field + " " + strings.ToLower(c.scheme)
}
