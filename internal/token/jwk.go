package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/zap"
)

// keysFromJSON reads a JWK or a JWK set from the configuration, where every key
// must be one that can be used.
func keysFromJSON(text []byte, algorithms []string) ([]*verifyKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, errors.New("the JSON of the key is damaged")
	}
	if set.Keys == nil {
		k, err := keyFromJWK(text, algorithms)
		if err != nil {
			return nil, fmt.Errorf("reading the JWK: %w", err)
		}
		return []*verifyKey{k}, nil
	}
	keys, err := usableKeys(set.Keys, algorithms, true)
	if err != nil {
		return nil, fmt.Errorf("reading the JWK set: %w", err)
	}
	return keys, nil
}

// keysFromSet reads a JWK set that a service publishes. Keys in it that are not for
// verifying signatures are left out, and so are secrets, which must not be published.
func keysFromSet(text []byte) ([]*verifyKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, errors.New("it is not a JWK set")
	}
	return usableKeys(set.Keys, nil, false)
}

func usableKeys(raw []json.RawMessage, algorithms []string, secrets bool) ([]*verifyKey, error) {
	if len(raw) > maxSetKeys {
		return nil, fmt.Errorf("it has %d keys: at most %d are taken", len(raw), maxSetKeys)
	}
	var keys []*verifyKey
	last := errors.New("it is empty")
	for _, text := range raw {
		k, err := keyFromJWK(text, algorithms)
		if err != nil {
			last = err
			continue
		}
		if secrets || !k.isSecret() {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("it has no key to verify signatures with: %w", last)
	}
	return keys, nil
}

// keyFromJWK reads one JWK; of a private key, its public half.
func keyFromJWK(text []byte, algorithms []string) (*verifyKey, error) {
	use, err := usageOf(text)
	if err != nil {
		return nil, err
	}
	if !use.verifies() {
		return nil, errors.New("the JWK is not for signatures")
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(withoutCertificates(text)); err != nil {
		return nil, errors.New("the JWK is of an unknown type or damaged")
	}
	material := jwk.Key
	if _, secret := material.([]byte); !secret && !jwk.IsPublic() {
		material = jwk.Public().Key
	}
	if jwk.Algorithm != "" {
		if len(algorithms) > 0 && !slices.Contains(algorithms, jwk.Algorithm) {
			return nil, fmt.Errorf("the JWK is for %q alone, which is not among the algorithms given", jwk.Algorithm)
		}
		algorithms = []string{jwk.Algorithm}
	}
	if err := CheckAlgorithms(algorithms); err != nil {
		return nil, err
	}
	k, err := newVerifyKey(material, algorithms)
	if err != nil {
		return nil, err
	}
	k.id = jwk.KeyID
	return k, nil
}

// withoutCertificates removes the certificates of the key from a JWK (RFC 7517,
// sections 4.6 to 4.9). Signatures are verified with the key alone, and issuers put
// certificates there that no parser takes.
func withoutCertificates(text []byte) []byte {
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) != nil {
		return text
	}
	for _, name := range []string{"x5c", "x5u", "x5t", "x5t#S256"} {
		delete(members, name)
	}
	rest, err := json.Marshal(members)
	if err != nil {
		return text
	}
	return rest
}

// keyUsage is what a JWK says of its use (RFC 7517, section 4).
type keyUsage struct {
	ID        string   `json:"kid"`
	Use       string   `json:"use"`
	Ops       []string `json:"key_ops"`
	Algorithm string   `json:"alg"`
}

func usageOf(text []byte) (keyUsage, error) {
	var u keyUsage
	if err := json.Unmarshal(text, &u); err != nil {
		return u, errors.New("it is not a JWK")
	}
	return u, nil
}

func (u keyUsage) verifies() bool {
	return (u.Use == "" || u.Use == "sig") && (u.Ops == nil || slices.Contains(u.Ops, "verify"))
}

// encrypts reports whether the key is for an algorithm of RFC 7518, section 4,
// although it does not say so by its use.
func (u keyUsage) encrypts() bool {
	return u.Algorithm == "dir" || slices.ContainsFunc([]string{"RSA1_5", "RSA-OAEP", "ECDH-ES", "PBES2-", "A128", "A192", "A256"},
		func(prefix string) bool { return strings.HasPrefix(u.Algorithm, prefix) })
}

// leftOutKey is a key of a set that signs tokens and cannot verify any here.
type leftOutKey struct {
	id     string
	reason string
}

// leftOutOf lists the left out keys of a set, for a warning: tokens that they sign are
// refused.
func leftOutOf(set []byte, secrets bool) []leftOutKey {
	var parsed struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(set, &parsed) != nil {
		return nil
	}
	var all []leftOutKey
	for _, text := range parsed.Keys[:min(len(parsed.Keys), maxSetKeys)] {
		use, err := usageOf(text)
		if err != nil || !use.verifies() || use.encrypts() {
			continue
		}
		k, err := keyFromJWK(text, nil)
		switch {
		case err != nil:
			all = append(all, leftOutKey{use.ID, err.Error()})
		case !secrets && k.isSecret():
			all = append(all, leftOutKey{use.ID, "a secret that is served is none"})
		}
	}
	return all
}

// warnOfLeftOut warns of the left out keys of a set, except for the keys in said, of
// which it has warned before.
func warnOfLeftOut(logger *zap.Logger, place string, keys, said []leftOutKey) {
	for _, k := range keys {
		if !slices.Contains(said, k) {
			logger.Warn("a key of a key set is left out, so that tokens that it signs are refused",
				zap.String("place", place), zap.String("kid", k.id), zap.String("reason", k.reason))
		}
	}
}
