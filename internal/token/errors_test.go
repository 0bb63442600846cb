package token

import (
	"errors"
	"fmt"
	"testing"
)

// A token that is unknown may be asked about elsewhere, and one that is refused
// for what it says may not. To strangers both are the same.
func TestErrorsAboutATokenSayWhetherItIsUnknown(t *testing.T) {
	t.Parallel()
	for err, unknown := range map[error]bool{
		ErrBadCredential: true, errJWTMalformed: true, errJWTHeader: true, errJWTAlgorithm: true, errJWTKey: true,
		errJWTCritical: false, errJWTSignature: false, errJWTClaims: false, errJWTNoExpiry: false, errJWTExpired: false,
		errJWTNotYet: false, errJWTIssuer: false, errJWTAudience: false, errJWTUser: false, errTokenInactive: false,
	} {
		if isUnknown(err) != unknown {
			t.Errorf("%v: unknown is %t", err, isUnknown(err))
		}
		if !errors.Is(err, ErrBadCredential) || !errors.Is(fmt.Errorf("wrapped: %w", err), ErrBadCredential) {
			t.Errorf("%v is not a bad credential", err)
		}
		if errors.Is(err, errJWTSignature) != (err == error(errJWTSignature)) { //nolint:errorlint // whether one is taken for another
			t.Errorf("%v is taken for another", err)
		}
	}
	for _, err := range []error{nil, ErrInsufficient, ErrUnavailable, errIntrospectBusy} {
		if isUnknown(err) || errors.Is(err, ErrBadCredential) {
			t.Errorf("%v is taken for a bad credential", err)
		}
	}
}

// Of several tokens, the reason is that of the one that came closest.
func TestReasonThatSaysMostIsTheOneGiven(t *testing.T) {
	t.Parallel()
	order := []error{nil, errJWTKey, errJWTExpired, ErrUnavailable, ErrInsufficient}
	for i, less := range order {
		for _, more := range order[i+1:] {
			if got := moreTelling(less, more); !errors.Is(got, more) {
				t.Errorf("of %v and %v: %v", less, more, got)
			}
			if got := moreTelling(more, less); !errors.Is(got, more) {
				t.Errorf("of %v and %v: %v", more, less, got)
			}
		}
	}
}
