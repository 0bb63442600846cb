package origin

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// pattern matches one origin; or all origins below its host, with any port, or of its
// scheme with any host.
type pattern struct {
	triple
	subdomains bool
	anyPort    bool
	anyHost    bool
}

// triple is an origin as RFC 6454 has it, normalised so that equal origins are
// equal values: lower case, no trailing dot, the port filled in.
type triple struct {
	scheme, host, port string
}

func (p pattern) matches(origin triple) bool {
	switch {
	case p.anyHost:
		return origin.scheme == p.scheme && origin.host != ""
	case p.anyPort:
		origin.port = ""
	}
	if !p.subdomains {
		return origin == p.triple
	}
	// A parsed host has no empty labels, so the dot before the suffix has a
	// label in front of it.
	return origin.scheme == p.scheme && origin.port == p.port &&
		strings.HasSuffix(origin.host, "."+p.host)
}

func parsePattern(text string) (pattern, error) {
	scheme, authority, ok := strings.Cut(text, "://")
	if !ok {
		return pattern{}, errors.New("has no scheme: write scheme://host[:port], \"same\" or \"any\"")
	}
	if authority == "*" && isAppScheme(scheme) {
		return pattern{triple: triple{scheme: strings.ToLower(scheme)}, anyHost: true}, nil
	}
	authority, subdomains := strings.CutPrefix(authority, "*.")
	authority, anyPort := strings.CutSuffix(authority, ":*")
	if host, _, _ := strings.Cut(authority, "/"); strings.Contains(host, "*") {
		return pattern{}, errors.New("has a \"*\" that is not the first label of the host: write scheme://*.host, or \"any\"")
	}
	origin, err := parse(scheme + "://" + authority)
	if err != nil {
		return pattern{}, err
	}
	if _, err := netip.ParseAddr(origin.host); err == nil && subdomains {
		return pattern{}, errors.New("has a \"*.\" before an IP address, which has no subdomains: remove it")
	}
	if anyPort {
		if !isLoopbackName(origin.host) {
			return pattern{}, errors.New("has a port \"*\", which is for names of this machine alone " +
				"(localhost, 127.0.0.1, [::1]): give a port, or none for the default one")
		}
		origin.port = ""
	}
	return pattern{triple: origin, subdomains: subdomains, anyPort: anyPort}, nil
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

// fileScheme is the scheme of pages that are files. Their origin has no host,
// where a browser does not hide it.
const fileScheme = "file"

// parse is strict: a text that a browser would not send as an Origin is an error,
// because a lenient reading would let look-alikes in.
func parse(text string) (triple, error) {
	scheme, authority, ok := strings.Cut(text, "://")
	scheme = strings.ToLower(scheme)
	switch {
	case !ok || !isURIScheme(scheme):
		return triple{}, errors.New("has no valid scheme: write scheme://host[:port]")
	case strings.Contains(authority, "@"):
		return triple{}, errors.New("has a user name: write only scheme://host[:port]")
	case strings.ContainsAny(authority, "/\\"):
		return triple{}, errors.New("has a path: write only scheme://host[:port], without a slash at the end")
	case strings.Contains(authority, "?"):
		return triple{}, errors.New("has a query: write only scheme://host[:port]")
	case strings.Contains(authority, "#"):
		return triple{}, errors.New("has a fragment: write only scheme://host[:port]")
	case authority == "" && scheme == fileScheme, (authority == "" || authority == ".") && isAppScheme(scheme):
		return triple{scheme: scheme, host: authority}, nil
	case scheme == fileScheme:
		return triple{}, errors.New("is no origin, for file:// has no host: remove what follows it")
	}
	host, port, hasPort, err := splitAuthority(authority)
	if err != nil {
		return triple{}, err
	}
	origin := triple{scheme: scheme, host: host}
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
		return triple{}, errors.New("has a bad port: give a number from 1 to 65535, or none")
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
