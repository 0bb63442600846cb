package token

import (
	"context"
)

// keySet is keys that may change.
type keySet interface {
	// keys returns the known keys. It waits for the first keys; the error is
	// ErrUnavailable where there are none yet.
	keys(ctx context.Context) ([]*verifyKey, error)

	// credentials are the names of the keys among credentials.
	credentials() []string

	// renew fetches the keys again, unless that was tried just now, and reports
	// whether it did.
	renew(ctx context.Context) bool
}
