package token

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// signingMethods are the algorithms there are (RFC 7518, section 3.1; RFC 8037;
// RFC 9864).
var signingMethods = map[string]jwt.SigningMethod{
	"HS256": jwt.SigningMethodHS256, "HS384": jwt.SigningMethodHS384, "HS512": jwt.SigningMethodHS512,
	"RS256": jwt.SigningMethodRS256, "RS384": jwt.SigningMethodRS384, "RS512": jwt.SigningMethodRS512,
	"PS256": jwt.SigningMethodPS256, "PS384": jwt.SigningMethodPS384, "PS512": jwt.SigningMethodPS512,
	"ES256": jwt.SigningMethodES256, "ES384": jwt.SigningMethodES384, "ES512": jwt.SigningMethodES512,
	"EdDSA": jwt.SigningMethodEdDSA, "Ed25519": jwt.SigningMethodEdDSA,
}

const (
	// The least that RFC 7518, sections 3.2 and 3.3, allow. Shorter secrets are
	// in use, with issuers that do not look: they load, with a warning.
	minSecretSize = 32
	minRSABits    = 2048

	// maxRSABits bounds what a signature costs to verify.
	maxRSABits = 8192

	// maxSetKeys bounds what a token without a kid costs.
	maxSetKeys = 100
)

// verifyKey is a key together with what it may be used for.
type verifyKey struct {
	id         string // what the kid of a token must be; "" where any will do
	algorithms []string
	key        any // as golang-jwt takes it

	// The name of the key among credentials: when no configuration has the key
	// any more, the connections that it let in end.
	credential string
}

// fits reports whether a token with this header may have been signed with the
// key.
func (k *verifyKey) fits(algorithm, kid string) bool {
	return (k.id == "" || kid == "" || k.id == kid) && slices.Contains(k.algorithms, algorithm)
}

func (k *verifyKey) isSecret() bool {
	_, secret := k.key.([]byte)
	return secret
}

// CheckAlgorithms refuses names that are not of supported algorithms.
func CheckAlgorithms(names []string) error {
	for _, name := range names {
		switch {
		case strings.EqualFold(name, "none"):
			return errors.New("algorithm none would accept every token: name one that signs")
		case signingMethods[name] == nil:
			return fmt.Errorf("algorithm %q is unknown: use HS, RS, PS or ES with 256, 384 or 512, EdDSA or Ed25519", name)
		}
	}
	return nil
}

// isAlgorithm reports whether a text names an algorithm, without regard to case. Such a
// text is no secret: it stands in the header of every token.
func isAlgorithm(text string) bool {
	if strings.EqualFold(text, "none") {
		return true
	}
	for name := range signingMethods {
		if strings.EqualFold(text, name) {
			return true
		}
	}
	return false
}

// CheckKey refuses a configured key that no token could be verified with. Its error
// shows no part of the key.
func CheckKey(key Key, resolve Resolver) error {
	_, err := newVerifyKeys(key.Key, key.Algorithms, resolve)
	return err
}

// newVerifyKeys makes the keys of one configured text. No error shows any of it.
func newVerifyKeys(configured string, algorithms []string, resolve Resolver) ([]*verifyKey, error) {
	text, err := resolveKey(configured, resolve)
	if err != nil {
		return nil, err
	}
	return keysFromText(text, algorithms)
}

// resolveKey replaces the placeholders in a configured key. JSON has braces of its
// own.
func resolveKey(configured string, resolve Resolver) (string, error) {
	if json.Valid([]byte(configured)) {
		return configured, nil
	}
	return resolve("key", configured)
}

func keysFromText(text string, algorithms []string) ([]*verifyKey, error) {
	if err := CheckAlgorithms(algorithms); err != nil {
		return nil, err
	}
	material, encoded, err := decodeKey(text)
	if err != nil {
		return nil, err
	}
	trimmed := bytes.TrimSpace(material)
	switch {
	case len(trimmed) == 0:
		return nil, errors.New("key is empty: give a secret, PEM, a JWK, or a placeholder for one")
	case isAlgorithm(string(trimmed)):
		return nil, errors.New("key is the name of an algorithm, and the key is missing: where a {$VAR} in front of it is not set, use {env.VAR}")
	case bytes.Contains(material, []byte("-----BEGIN")):
		return keyFromPEM(material, algorithms)
	case trimmed[0] == '{' && (!encoded || json.Valid(trimmed)): // a secret that was encoded may be any bytes
		return keysFromJSON(material, algorithms)
	}
	return oneKey(material, algorithms)
}

// decodeKey returns the decoded bytes of a key with a prefix of an encoding, and the
// bytes of the text of any other key.
func decodeKey(text string) (material []byte, encoded bool, err error) {
	for prefix, encoding := range map[string]*base64.Encoding{"base64:": base64.RawStdEncoding, "base64url:": base64.RawURLEncoding} {
		start := strings.TrimSpace(text)
		if len(start) < len(prefix) || !strings.EqualFold(start[:len(prefix)], prefix) {
			continue
		}
		rest := strings.Join(strings.Fields(start[len(prefix):]), "") // lines are broken
		if material, err = encoding.DecodeString(strings.TrimRight(rest, "=")); err != nil {
			return nil, true, fmt.Errorf("key begins with %s and does not go on in that encoding: "+
				"base64: has + and /, base64url: has - and _", prefix)
		}
		return material, true, nil
	}
	return []byte(text), false, nil
}

func oneKey(material any, algorithms []string) ([]*verifyKey, error) {
	k, err := newVerifyKey(material, algorithms)
	if err != nil {
		return nil, err
	}
	return []*verifyKey{k}, nil
}

// newVerifyKey binds key material to the algorithms of its type.
func newVerifyKey(material any, algorithms []string) (*verifyKey, error) {
	kind, fitting, err := fittingAlgorithms(material)
	if err != nil {
		return nil, err
	}
	for _, name := range algorithms {
		if !slices.Contains(fitting, name) {
			return nil, fmt.Errorf("algorithm %s is not for %s: use %s", name, kind, strings.Join(fitting, ", "))
		}
	}
	if len(algorithms) > 0 {
		fitting = algorithms
	}
	encoded, isSecret := material.([]byte)
	if !isSecret {
		if encoded, err = x509.MarshalPKIXPublicKey(material); err != nil {
			return nil, fmt.Errorf("encoding the key: %w", err)
		}
	}
	sum := sha256.Sum256(append([]byte(kind), encoded...))
	return &verifyKey{algorithms: fitting, key: material, credential: "key " + hex.EncodeToString(sum[:])}, nil
}

func fittingAlgorithms(material any) (kind string, names []string, err error) {
	switch k := material.(type) {
	case []byte:
		return "a secret", []string{"HS256", "HS384", "HS512"}, nil
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return "", nil, fmt.Errorf("the RSA key has %d bits: give one with %d to %d", bits, minRSABits, maxRSABits)
		}
		return "an RSA key", []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, nil
	case *ecdsa.PublicKey:
		curve := k.Curve.Params().Name
		name, ok := map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[curve]
		if !ok {
			return "", nil, fmt.Errorf("the curve %s is not supported: use P-256, P-384 or P-521", curve)
		}
		return "an EC key on " + curve, []string{name}, nil
	case ed25519.PublicKey:
		return "an Ed25519 key", []string{"EdDSA", "Ed25519"}, nil
	}
	return "", nil, fmt.Errorf("a key of type %T is not supported: use RSA, EC, Ed25519 or a secret", material)
}

// indentation is what a configuration puts in front of the lines of PEM.
var indentation = regexp.MustCompile(`(?m)^[ \t]+`)

// keyFromPEM reads one public key, or a certificate with perhaps its chain.
func keyFromPEM(text []byte, algorithms []string) ([]*verifyKey, error) {
	block, rest := pem.Decode(indentation.ReplaceAll(text, nil))
	if block == nil {
		return nil, errors.New("the PEM is damaged")
	}
	var public any
	var err error
	switch {
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return nil, errors.New("the PEM holds a private key, which belongs to the issuer alone: give its public key")
	case block.Type == "CERTIFICATE":
		public, err = keyOfCertificate(block.Bytes)
	case block.Type == "RSA PUBLIC KEY":
		public, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case block.Type == "PUBLIC KEY":
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
	default:
		return nil, fmt.Errorf("the PEM holds a %q: give a PUBLIC KEY or a CERTIFICATE", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("parsing the PEM: %w", err)
	}
	if next, _ := pem.Decode(rest); next != nil && next.Type != "CERTIFICATE" {
		return nil, errors.New("the PEM holds several keys: give each in a key of its own")
	}
	return oneKey(public, algorithms)
}

// keyOfCertificate reads the public key of a certificate. A certificate need not
// be sound for that: some that issuers use have serial numbers below zero.
func keyOfCertificate(der []byte) (any, error) {
	cert, err := x509.ParseCertificate(der)
	if err == nil {
		return cert.PublicKey, nil
	}
	var outer struct {
		Signed struct {
			Version   int `asn1:"optional,explicit,default:0,tag:0"`
			Serial    *big.Int
			Algorithm asn1.RawValue
			Issuer    asn1.RawValue
			Validity  asn1.RawValue
			Subject   asn1.RawValue
			PublicKey asn1.RawValue
		}
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	if rest, parseErr := asn1.Unmarshal(der, &outer); parseErr != nil || len(rest) > 0 {
		return nil, err
	}
	return x509.ParsePKIXPublicKey(outer.Signed.PublicKey.FullBytes)
}
