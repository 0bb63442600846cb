package token

import (
	"crypto/x509"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// Options is the configuration of a Verifier. Its texts may have placeholders.
type Options struct {
	Static        []Static
	JWT           *JWT           // nil without
	Introspection *Introspection // nil without

	// MayBeSubprotocol says that a token may come as an offered subprotocol that
	// is not encoded.
	MayBeSubprotocol bool

	// Revoked reports whether what a good token grants was revoked; nil for nothing.
	Revoked func(*Grant) bool

	// Resolve replaces placeholders.
	Resolve Resolver

	// FilesIn names the files that the placeholders in a configured text read.
	FilesIn func(configured string) []string

	// KeySource returns the JWK set at a URL, which the Verifier does not close.
	KeySource func(address string) (*KeySource, error)

	Logger *zap.Logger

	// ReportPanic hears of panics beside requests; nil for panics.Report.
	ReportPanic func(*panics.Panic)
}

// Resolver replaces the placeholders in a configured text. Its errors say what the
// text is, and show no part of it.
type Resolver func(what, configured string) (string, error)

// Static is a configured token.
type Static struct {
	Token       string // or "sha256:" and its hash
	UserID      string
	Short       bool // the token whose hash is given has fewer than 16 bytes
	Unofferable bool // the token whose hash is given cannot be a subprotocol
}

// JWT says which JSON Web Tokens are good.
type JWT struct {
	Keys          []Key
	JWKS          []KeySetPlace
	Algorithms    []string // none for all that fit the keys
	Issuer        []string // none for any
	Audience      []string // none for any
	Require       []Requirement
	UserClaim     string         // "" for sub
	Leeway        *time.Duration // nil for the default
	AllowNoExpiry bool
}

// Key is a key that tokens may be signed with: a secret, PEM, a JWK or a JWK set.
type Key struct {
	Key        string
	Algorithms []string // none for all that fit its type
}

// KeySetPlace is where a JWK set is.
type KeySetPlace struct {
	Place     string // a URL, or the name of a file
	AllowHTTP bool   // from any address, and not from loopback ones alone
}

// Requirement is a claim and its permitted values.
type Requirement struct {
	Claim  string
	Values []string
}

// Introspection is a service that knows which tokens are good (RFC 7662).
type Introspection struct {
	URL         string
	AllowHTTP   bool           // to any address, and not to loopback ones alone
	Cache       *time.Duration // nil for the default
	Timeout     time.Duration  // zero for the default
	Authorities *x509.CertPool // nil for the system's
}

func (o *Options) isInFile(configured string) bool { return len(o.FilesIn(configured)) > 0 }

// resolveText replaces the placeholders in a setting that is not secret. An empty text
// is refused: an unset {$VAR} in quotes leaves one, and would match an empty claim.
func (o *Options) resolveText(field, configured string) (string, error) {
	text, err := o.Resolve("it", configured)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", field, err)
	case text == "":
		return "", fmt.Errorf("%s is empty: give a text, or remove it", field)
	}
	return text, nil
}

func (o *Options) resolveTexts(field string, configured []string) ([]string, error) {
	texts := make([]string, len(configured))
	var err error
	for i := range configured {
		if texts[i], err = o.resolveText(fmt.Sprintf("%s[%d]", field, i), configured[i]); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// HasControlChars reports whether s could break out of a header or a log line.
func HasControlChars(s string) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl)
}
