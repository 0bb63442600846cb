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
	texts    []string // as configured
	any      bool
	same     bool
	null     bool
	patterns []originPattern
}

// originPattern matches one origin; or every one below its host, with any port,
// or of its scheme with any host.
type originPattern struct {
	webOrigin
	subdomains bool
	anyPort    bool
	anyHost    bool
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
	policy := &originPolicy{texts: patterns, same: len(patterns) == 0}
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
		if p.null {
			return errOriginTwice
		}
		p.null = true
		return nil
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
	if p.any || (len(p.texts) == 0 && !ambient) {
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
	if header == "null" {
		return p.null
	}
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

// What a line of the log shows of an Origin, and of what it was compared with.
const (
	maxShownOrigin   = 200
	maxShownPatterns = 400
)

// explain says why allow did not let r in.
func (p *originPolicy) explain(r *http.Request, self requestOrigin) string {
	lines := r.Header["Origin"]
	switch len(lines) {
	case 0:
		return "it has no Origin, which browsers send with every handshake, and a credential that they attach by themselves"
	case 1:
		return "its Origin " + shown(lines[0]) + " is not allowed: it was compared with " + p.shown(self)
	default:
		return "it has " + strconv.Itoa(len(lines)) + " Origin fields, where browsers send one"
	}
}

// shown lists what an Origin is compared with.
func (p *originPolicy) shown(self requestOrigin) string {
	texts := p.texts
	if len(texts) == 0 {
		texts = []string{"same"}
	}
	var b strings.Builder
	for i, text := range texts {
		if i > 0 {
			b.WriteString(", ")
		}
		if b.Len() > maxShownPatterns {
			b.WriteString("…")
			break
		}
		b.WriteString(text)
		if text == "same" {
			b.WriteString(" (" + shown(self.scheme+"://"+self.host) + ")")
		}
	}
	return b.String()
}

// shown quotes what a stranger sent, so that it can be read in a log, and in
// the page that an error route makes of it.
func shown(text string) string {
	end := ""
	if len(text) > maxShownOrigin {
		text, end = text[:maxShownOrigin], "…"
	}
	quoted := strconv.QuoteToASCII(text)
	return markup.Replace(quoted[:len(quoted)-1]) + end + `"`
}

var markup = strings.NewReplacer("<", `\x3c`, ">", `\x3e`, "&", `\x26`)

func (p originPattern) matches(origin webOrigin) bool {
	switch {
	case p.anyHost:
		return origin.scheme == p.scheme && origin.host != ""
	case p.anyPort:
		origin.port = ""
	}
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
	if authority == "*" && isAppScheme(scheme) {
		return originPattern{webOrigin: webOrigin{scheme: strings.ToLower(scheme)}, anyHost: true}, nil
	}
	authority, subdomains := strings.CutPrefix(authority, "*.")
	authority, anyPort := strings.CutSuffix(authority, ":*")
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
	if anyPort {
		if !isLoopbackName(origin.host) {
			return originPattern{}, errors.New("has a port \"*\", which is for names of this machine alone " +
				"(localhost, 127.0.0.1, [::1]): give a port, or none for the default one")
		}
		origin.port = ""
	}
	return originPattern{webOrigin: origin, subdomains: subdomains, anyPort: anyPort}, nil
}

// isLoopbackName reports whether a host is the browser's own machine (RFC 6761,
// section 6.3).
func isLoopbackName(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback() || host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// isAppScheme reports whether pages of a scheme come out of an application, or
// an extension of the browser, and not from a host of the network.
func isAppScheme(scheme string) bool {
	return isURIScheme(strings.ToLower(scheme)) &&
		!slices.Contains([]string{"http", "https", "ws", "wss", fileScheme}, strings.ToLower(scheme))
}

// fileScheme is that of pages that are files; their origin has no host, where
// browsers do not hide it.
const fileScheme = "file"

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
	case authority == "" && scheme == fileScheme, (authority == "" || authority == ".") && isAppScheme(scheme):
		return webOrigin{scheme: scheme, host: authority}, nil
	case scheme == fileScheme:
		return webOrigin{}, errors.New("is no origin, for file:// has no host: remove what follows it")
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
