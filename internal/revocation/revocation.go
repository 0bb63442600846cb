// Package revocation knows the credentials that are refused although they are good:
// an operator has taken them away.
package revocation

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Revocation refuses a token by its ID, or what was issued to a user until some second.
type Revocation struct {
	// ID is made of what is revoked, so that the same revocation has the same ID in
	// every process.
	ID string `json:"id"`

	JTI     string `json:"jti,omitempty"`
	User    string `json:"user,omitempty"`
	Gateway string `json:"gateway,omitempty"` // the one that it is for; empty for all

	// IssuedBefore is the last second whose credentials of the user are refused.
	IssuedBefore time.Time `json:"issued_before,omitzero"`

	Created time.Time `json:"created"`
	Until   time.Time `json:"until"`

	// Code and Reason are those of the close frames of the connections that it ends.
	Code   int    `json:"code"`
	Reason string `json:"reason"`
}

// latest is the latest end of a revocation, the last second that JSON has a date for.
var latest = time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)

// Identify returns the revocation with its ID, and with dates as they are kept.
func (r Revocation) Identify() Revocation {
	r.IssuedBefore = r.IssuedBefore.UTC().Truncate(time.Second)
	r.Created = r.Created.UTC().Truncate(time.Second)
	if r.Until = r.Until.UTC(); r.Until.After(latest) {
		r.Until = latest
	}
	what := "jti\x00" + r.JTI
	if r.User != "" {
		what = "user\x00" + r.IssuedBefore.Format(time.RFC3339) + "\x00" + r.User
	}
	sum := sha256.Sum256([]byte(r.Gateway + "\x00" + what)) // names of gateways have no zero bytes
	r.ID = hex.EncodeToString(sum[:10])
	return r
}

// IsSound reports whether the revocation is one that [Revocation.Identify] may have made.
func (r Revocation) IsSound() bool {
	return (r.JTI == "") != (r.User == "") && r.IssuedBefore.IsZero() == (r.User == "") &&
		!r.Until.IsZero() && r.Identify().ID == r.ID
}

// Credential is what is known of a good credential.
type Credential struct {
	Gateway string // where it is to let its user in; empty for a place that is no gateway
	User    string
	JTI     string
	Issued  int64 // in seconds since 1970; 0 where it does not say
}

// Covers reports whether the revocation, unless it is over, refuses the credential.
func (r *Revocation) Covers(c Credential) bool {
	switch {
	case r.Gateway != "" && r.Gateway != c.Gateway:
		return false
	case r.JTI != "":
		return r.JTI == c.JTI
	}
	return r.User == c.User && c.Issued <= r.IssuedBefore.Unix()
}

// Over reports whether the revocation has lapsed.
func (r *Revocation) Over(now time.Time) bool { return !now.Before(r.Until) }

// mergedInto returns the revocation as it is kept where it was there before as known:
// the later end counts.
func (r Revocation) mergedInto(known *Revocation) Revocation {
	r.Created = known.Created
	if known.Until.After(r.Until) {
		r.Until = known.Until
	}
	return r
}
