package wsgateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

var errOriginTwice = errors.New("is there twice: remove one")

// requestOrigin is the origin of a request's own URI as the client sees it.
type requestOrigin struct {
	scheme string
	host   string // may carry a port
}

// originPolicy decides which pages may have caused a request.
type originPolicy struct {
	configured bool
	any        bool
	same       bool
	patterns   []originPattern
}

// originPattern matches one origin, or where subdomains is set every origin
// below its host.
type originPattern struct {
	webOrigin
	subdomains bool
}

// webOrigin is the triple of RFC 6454, normalised so that equal origins are
// equal values: lower case, no trailing dot, the port filled in.
type webOrigin struct {
	scheme, host, port string
}

// newOriginPolicy compiles the configured patterns. Without any, origins are
// compared only where the credential is ambient, and then must be the
// request's own.
func newOriginPolicy(patterns []string) (*originPolicy, error) {
	policy := &originPolicy{configured: len(patterns) > 0, same: len(patterns) == 0}
	for _, text := range patterns {
		if err := policy.add(text); err != nil {
			return nil, fmt.Errorf("origins: %q %w", text, err)
		}
	}
	if policy.any && len(patterns) > 1 {
		return nil, errors.New("origins: \"any\" lets every page in: it must stand alone, so remove it or the others")
	}
	return policy, nil
}

func (p *originPolicy) add(text string) error {
	switch text {
	case "any":
		if p.any {
			return errOriginTwice
		}
		p.any = true
		return nil
	case "same":
		if p.same {
			return errOriginTwice
		}
		p.same = true
		return nil
	case "null":
		return errors.New("stands for every page that hides its origin and cannot be allowed: remove it")
	}
	pattern, err := parseOriginPattern(text)
	if err != nil {
		return err
	}
	if slices.Contains(p.patterns, pattern) {
		return errOriginTwice
	}
	p.patterns = append(p.patterns, pattern)
	return nil
}

// allow tells whether the page that caused r may do so. self is r's own
// origin, ambient says that a browser attached the credential by itself, and
// handshake that r opens a WebSocket. Browsers send an Origin with every
// handshake, but leave it out of other requests to a page's own site: without
// one, an ambient credential is good for those only.
func (p *originPolicy) allow(r *http.Request, self requestOrigin, ambient, handshake bool) bool {
	if p.any || (!p.configured && !ambient) {
		return true
	}
	lines := r.Header["Origin"]
	switch len(lines) {
	case 0:
		return !ambient || !handshake
	case 1:
		return p.matches(lines[0], self)
	default:
		return false
	}
}

func (p *originPolicy) matches(header string, self requestOrigin) bool {
	origin, err := parseOrigin(header)
	if err != nil {
		return false
	}
	if p.same {
		own, err := parseOrigin(self.scheme + "://" + self.host)
		if err == nil && origin == own {
			return true
		}
	}
	return slices.ContainsFunc(p.patterns, func(pattern originPattern) bool {
		return pattern.matches(origin)
	})
}

func (p originPattern) matches(origin webOrigin) bool {
	if !p.subdomains {
		return origin == p.webOrigin
	}
	// A parsed host has no empty labels, so the dot before the suffix has a
	// label in front of it.
	return origin.scheme == p.scheme && origin.port == p.port &&
		strings.HasSuffix(origin.host, "."+p.host)
}

func parseOriginPattern(text string) (originPattern, error) {
	scheme, authority, ok := strings.Cut(text, "://")
	if !ok {
		return originPattern{}, errors.New("has no scheme: write scheme://host[:port], \"same\" or \"any\"")
	}
	authority, subdomains := strings.CutPrefix(authority, "*.")
	if host, _, _ := strings.Cut(authority, "/"); strings.Contains(host, "*") {
		return originPattern{}, errors.New("has a \"*\" that is not the first label of the host: write scheme://*.host, or \"any\"")
	}
	origin, err := parseOrigin(scheme + "://" + authority)
	if err != nil {
		return originPattern{}, err
	}
	if _, err := netip.ParseAddr(origin.host); err == nil && subdomains {
		return originPattern{}, errors.New("has a \"*.\" before an IP address, which has no subdomains: remove it")
	}
	return originPattern{webOrigin: origin, subdomains: subdomains}, nil
}

// parseOrigin is strict: what a browser would not send as an Origin is an
// error, because a lenient reading is how look-alikes get in.
func parseOrigin(text string) (webOrigin, error) {
	scheme, authority, ok := strings.Cut(text, "://")
	scheme = strings.ToLower(scheme)
	switch {
	case !ok || !isURIScheme(scheme):
		return webOrigin{}, errors.New("has no valid scheme: write scheme://host[:port]")
	case strings.Contains(authority, "@"):
		return webOrigin{}, errors.New("has a user name: write only scheme://host[:port]")
	case strings.ContainsAny(authority, "/\\"):
		return webOrigin{}, errors.New("has a path: write only scheme://host[:port], without a slash at the end")
	case strings.Contains(authority, "?"):
		return webOrigin{}, errors.New("has a query: write only scheme://host[:port]")
	case strings.Contains(authority, "#"):
		return webOrigin{}, errors.New("has a fragment: write only scheme://host[:port]")
	}
	host, port, hasPort, err := splitAuthority(authority)
	if err != nil {
		return webOrigin{}, err
	}
	origin := webOrigin{scheme: scheme, host: host}
	defaultPort := ""
	switch scheme {
	case "http", "ws":
		origin.scheme, defaultPort = "http", "80"
	case "https", "wss":
		origin.scheme, defaultPort = "https", "443"
	}
	if !hasPort {
		origin.port = defaultPort
		return origin, nil
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return webOrigin{}, errors.New("has a bad port: give a number from 1 to 65535, or none")
	}
	origin.port = strconv.FormatUint(number, 10)
	return origin, nil
}

// splitAuthority returns the host in its normal form and the port as written.
func splitAuthority(authority string) (host, port string, hasPort bool, err error) {
	if rest, ok := strings.CutPrefix(authority, "["); ok {
		literal, after, closed := strings.Cut(rest, "]")
		addr, err := netip.ParseAddr(literal)
		if !closed || err != nil || !addr.Is6() || addr.Zone() != "" {
			return "", "", false, errors.New("has a bad IPv6 address: write it as [2001:db8::1]")
		}
		port, hasPort = strings.CutPrefix(after, ":")
		if after != "" && !hasPort {
			return "", "", false, errors.New("has something behind its IPv6 address: write scheme://[address][:port]")
		}
		return addr.String(), port, hasPort, nil
	}
	host, port, hasPort = strings.Cut(authority, ":")
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || strings.ContainsFunc(label, notInHostLabel) {
			return "", "", false, errors.New("has a bad host: write its name in letters, digits and hyphens (xn--… for others)")
		}
	}
	return host, port, hasPort, nil
}

func notInHostLabel(c rune) bool {
	return !isLetterOrDigit(c) && c != '-' && c != '_'
}

func isURIScheme(s string) bool {
	return s != "" && s[0] >= 'a' && s[0] <= 'z' && !strings.ContainsFunc(s, func(c rune) bool {
		return !isLetterOrDigit(c) && c != '+' && c != '-' && c != '.'
	})
}

func isLetterOrDigit(c rune) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
}
