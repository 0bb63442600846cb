package token

import (
	"context"
)

// keySet is keys that may change.
type keySet interface {
	// keys returns those that are known. It waits for the first ones; its error
	// is ErrUnavailable where there are none yet.
	keys(ctx context.Context) ([]*verifyKey, error)

	// credentials are what stands for its keys in the registry.
	credentials() []string

	// renew fetches them again, unless that was tried just now, and reports
	// whether it did.
	renew(ctx context.Context) bool
}

// fixedKeys is a key set that does not change.
type fixedKeys []*verifyKey

// keys implements keySet.
func (f fixedKeys) keys(context.Context) ([]*verifyKey, error) { return f, nil }

// credentials implements keySet.
func (f fixedKeys) credentials() []string {
	names := make([]string, 0, len(f))
	for _, k := range f {
		names = append(names, k.credential)
	}
	return names
}

// renew implements keySet.
func (fixedKeys) renew(context.Context) bool { return false }
