package token

import (
	"errors"
	"strings"
	"unicode"
)

// Why a request may not pass. No error says anything about the token, so that all
// may be logged.
var (
	// ErrBadCredential is any error that says that a token is not good.
	ErrBadCredential error = unknownToken("the credential is not valid")

	// ErrInsufficient is for a good token that does not hold the required claims.
	ErrInsufficient = errors.New("the credential is valid, but does not allow this")

	// ErrUnavailable is for missing keys, or no answer of the introspection service.
	ErrUnavailable = errors.New("the credential cannot be checked at the moment")
)

// credentialError is why a token is not good, for the log: to strangers all are
// the same.
type credentialError struct {
	reason string

	// The token is none of ours, and is not refused for its claims: another
	// handler or module may know it.
	unknown bool
}

func unknownToken(reason string) *credentialError { return &credentialError{reason, true} }

func refusedToken(reason string) *credentialError { return &credentialError{reason, false} }

// Error implements error.
func (e *credentialError) Error() string { return e.reason }

// Is makes all of them ErrBadCredential.
func (e *credentialError) Is(target error) bool { return target == ErrBadCredential }

// RevokedError is an ErrBadCredential for a credential that would be good, and was revoked.
type RevokedError struct {
	UserID string // whose it is; empty where it names nobody
}

// Error implements error.
func (*RevokedError) Error() string { return "revoked" }

// Is makes it an ErrBadCredential, and not an unknown one: nobody else is to take it.
func (*RevokedError) Is(target error) bool { return target == ErrBadCredential }

// isUnknown reports whether a token was refused as none of ours, and not for its
// claims.
func isUnknown(err error) bool {
	e, ok := errors.AsType[*credentialError](err)
	return ok && e.unknown
}

// moreTelling is the one of two errors about tokens that says more: most says that a
// token is good and does not suffice, then that it cannot be checked, then that it is
// bad, and least that it is unknown.
func moreTelling(a, b error) error {
	rank := func(err error) int {
		switch {
		case err == nil:
			return 0
		case errors.Is(err, ErrInsufficient):
			return 4
		case errors.Is(err, ErrUnavailable):
			return 3
		case !isUnknown(err):
			return 2
		}
		return 1
	}
	if rank(b) > rank(a) {
		return b
	}
	return a
}

// Challenge returns the WWW-Authenticate value of RFC 6750, section 3, for an
// error of VerifyAny, or where there is no token. It is the same for every bad token,
// because a stranger must not learn why a token is bad.
func Challenge(realm string, err error) string {
	value := "Bearer realm=" + quotedString(realm)
	switch {
	case errors.Is(err, ErrBadCredential):
		value += `, error="invalid_token", error_description="the token is not valid"`
	case errors.Is(err, ErrInsufficient):
		value += `, error="insufficient_scope", error_description="the token does not allow this"`
	}
	return value
}

// quotedString is the quoted-string of RFC 9110, section 5.6.4.
func quotedString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case unicode.IsControl(c):
			continue
		case c == '"' || c == '\\':
			b.WriteByte('\\')
		}
		b.WriteRune(c)
	}
	b.WriteByte('"')
	return b.String()
}
