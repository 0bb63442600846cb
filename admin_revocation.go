package wsgateway

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/revocation"
	"github.com/wsgateway/caddy-ws-gateway/internal/strictjson"
)

const (
	// maxRevocationBody is how long the body of a request for a revocation may be.
	maxRevocationBody = 64 << 10

	// maxRevoked is how long the ID of a token or of a user may be. Those of a JWT are
	// shorter by far.
	maxRevoked = 4 << 10

	// clockSkew is how far ahead the clock of an operator may be.
	clockSkew = time.Minute
)

// readRevocation reads what an operator wants to revoke. Until is zero where the body
// does not say.
func readRevocation(body io.Reader, now time.Time) (revocation.Revocation, error) {
	object, err := readObject(body, maxRevocationBody)
	if err != nil {
		return revocation.Revocation{}, fmt.Errorf(`the body must be {"jti": "…"} or {"user": "…"}: %w`, err)
	}
	r := revocation.Revocation{Created: now, Code: live.EndRevoked.Client.Code, Reason: live.EndRevoked.Client.Reason}
	for _, member := range object {
		if err := readRevocationMember(&r, string(member.Name), member.Value, now); err != nil {
			return r, err
		}
	}
	return r, checkRevocation(&r, object, now)
}

// readRevocationMember takes over one member of the body.
func readRevocationMember(r *revocation.Revocation, name string, value strictjson.Value, now time.Time) (err error) {
	switch name {
	case "jti":
		r.JTI, err = readRevoked(name, value)
	case "user":
		r.User, err = readRevoked(name, value)
	case "gateway":
		text, ok := value.Text()
		if !ok || !validName.MatchString(text) {
			return errors.New("gateway must be the name of a gateway: leave it out for all")
		}
		r.Gateway = text
	case "issued_before":
		r.IssuedBefore, err = readTime(name, value)
	case "until":
		if r.Until, err = readTime(name, value); err == nil && !r.Until.After(now) {
			return fmt.Errorf("until is in the past: it is %s", now.UTC().Format(time.RFC3339))
		}
	case "for":
		var lasts time.Duration
		if lasts, err = readDuration(name, value); err == nil && lasts <= 0 {
			return errors.New("for must be more than nothing, as in \"24h\"")
		}
		r.Until = now.Add(lasts)
	case "code":
		r.Code, err = readRevocationCode(value)
	case "reason":
		text, ok := value.Text()
		if !ok || len(text) > maxReason || !utf8.ValidString(text) {
			return fmt.Errorf("reason must be a text of at most %d bytes", maxReason)
		}
		r.Reason = text
	default:
		return fmt.Errorf("the member %q is unknown: allowed are code, for, gateway, issued_before, jti, reason, until, user", name)
	}
	return err
}

// checkRevocation compares what the members say together, and sets what follows.
func checkRevocation(r *revocation.Revocation, object strictjson.Object, now time.Time) error {
	hasUntil, hasFor := object.Get("until") != nil, object.Get("for") != nil
	switch {
	case r.JTI == "" && r.User == "":
		return errors.New("jti or user must say what to revoke")
	case r.JTI != "" && r.User != "":
		return errors.New("jti and user exclude each other: make two revocations of them")
	case r.JTI != "" && object.Get("issued_before") != nil:
		return errors.New("issued_before goes with user: a jti is of one token")
	case hasUntil && hasFor:
		return errors.New("until and for exclude each other")
	case r.IssuedBefore.After(now.Add(clockSkew)):
		return fmt.Errorf("issued_before is in the future, where nothing was issued: it is %s", now.UTC().Format(time.RFC3339))
	case r.User != "" && object.Get("issued_before") == nil:
		r.IssuedBefore = now
	}
	return nil
}

func readRevoked(name string, value strictjson.Value) (string, error) {
	text, ok := value.Text()
	if !ok || text == "" || len(text) > maxRevoked || !utf8.ValidString(text) {
		return "", fmt.Errorf("%s must be a text of 1 to %d bytes", name, maxRevoked)
	}
	return text, nil
}

// readTime reads a point in time (RFC 3339).
func readTime(name string, value strictjson.Value) (time.Time, error) {
	if text, ok := value.Text(); ok {
		if at, err := time.Parse(time.RFC3339, text); err == nil && at.Unix() >= 0 && at.UTC().Year() <= 9999 {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%s must be a time as in \"2026-01-31T12:00:00Z\" (RFC 3339)", name)
}

// readRevocationCode reads a close code that says that the client is not welcome.
func readRevocationCode(value strictjson.Value) (int, error) {
	if number, ok := value.Number(); ok {
		if code, err := strconv.Atoi(number); err == nil && (code == 1000 || code == 1008 || code >= 3000 && code <= 4999) {
			return code, nil
		}
	}
	return 0, errors.New("code must be 1000, 1008, or a number from 3000 to 4999")
}
