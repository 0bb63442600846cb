// Package origin decides which web pages may open a WebSocket, or send a request,
// by the Origin that browsers put into it (RFC 6454): cookies go along with the
// requests of every page, so that a credential does not tell which page sent it.
package origin

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

var errTwice = errors.New("is there twice: remove one")

// Self is the origin of a request's own URI as the client sees it.
type Self struct {
	Scheme string
	Host   string // may carry a port
}

// WithPort returns the origin with a port where its host has none, and as it is
// where the host is malformed.
func (s Self) WithPort(port string) Self {
	if _, _, hasPort, err := splitAuthority(s.Host); err == nil && !hasPort {
		s.Host += ":" + port
	}
	return s
}

// Policy decides which pages may have caused a request.
type Policy struct {
	texts    []string // as configured
	any      bool
	same     bool
	null     bool
	patterns []pattern
}

// New compiles the configured patterns: origins, "same", "null" or "any". Without
// any pattern, origins are compared only where the credential is ambient, and then
// must be the request's own.
func New(patterns []string) (*Policy, error) {
	policy := &Policy{texts: patterns, same: len(patterns) == 0}
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

func (p *Policy) add(text string) error {
	switch text {
	case "any":
		if p.any {
			return errTwice
		}
		p.any = true
		return nil
	case "same":
		if p.same {
			return errTwice
		}
		p.same = true
		return nil
	case "null":
		if p.null {
			return errTwice
		}
		p.null = true
		return nil
	}
	parsed, err := parsePattern(text)
	if err != nil {
		return err
	}
	if slices.Contains(p.patterns, parsed) {
		return errTwice
	}
	p.patterns = append(p.patterns, parsed)
	return nil
}

// AllowsNull reports whether the policy lets pages in that hide their origin.
func (p *Policy) AllowsNull() bool { return p.null }

// Allow reports whether the page that caused r may do so. self is r's own origin,
// ambient says that a browser attached the credential by itself, and handshake that r
// opens a WebSocket. Browsers send an Origin with every handshake, but leave it out of
// other requests to a page's own site: without an Origin, an ambient credential is good
// for requests that are no handshake only.
func (p *Policy) Allow(r *http.Request, self Self, ambient, handshake bool) bool {
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

func (p *Policy) matches(header string, self Self) bool {
	if header == "null" {
		return p.null
	}
	origin, err := parse(header)
	if err != nil {
		return false
	}
	if p.same {
		own, err := parse(self.Scheme + "://" + self.Host)
		if err == nil && origin == own {
			return true
		}
	}
	return slices.ContainsFunc(p.patterns, func(allowed pattern) bool { return allowed.matches(origin) })
}

// How many bytes of an Origin, and of the allowed origins, a log line shows.
const (
	maxShownOrigin   = 200
	maxShownPatterns = 400
)

// Explain says why Allow did not let r in.
func (p *Policy) Explain(r *http.Request, self Self) string {
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

// shown lists the patterns that an Origin is compared with.
func (p *Policy) shown(self Self) string {
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
			b.WriteString(" (" + shown(self.Scheme+"://"+self.Host) + ")")
		}
	}
	return b.String()
}

// shown quotes what a client sent, so that it can be read in a log, and in
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
