package token

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/http/httpguts"
)

const (
	// minTokenSize is what a static token should have: a shorter one can be
	// guessed, or is the user ID that moved up where an unset {$VAR} left no word.
	minTokenSize = 16

	hashPrefix = "sha256:"
)

// staticTokens are the configured bearer tokens.
type staticTokens []staticToken

type staticToken struct {
	hash  [sha256.Size]byte
	short bool // fewer than minTokenSize bytes
	plain bool // it can be offered as a subprotocol
	grant *Grant
}

// verify compares hashes and not tokens, and always all of them, so that the
// time it takes says nothing of how close a guess is or which token matched.
func (tokens staticTokens) verify(token string) *Grant {
	hash := sha256.Sum256([]byte(token))
	match := -1
	for i := range tokens {
		equal := subtle.ConstantTimeCompare(tokens[i].hash[:], hash[:])
		match = subtle.ConstantTimeSelect(equal, i, match)
	}
	if match < 0 {
		return nil
	}
	return tokens[match].grant
}

func (o *Options) newStaticTokens(configs []Static) (staticTokens, error) {
	tokens := make(staticTokens, 0, len(configs))
	for i, config := range configs {
		token, err := o.newStaticToken(config)
		if err != nil {
			return nil, fmt.Errorf("auth.bearer[%d]: %w", i, err)
		}
		tokens = append(tokens, token)
	}
	return tokens, o.checkTwins(tokens, configs)
}

func (o *Options) newStaticToken(config Static) (staticToken, error) {
	hash, quality, err := hashOfToken(config.Token, o.Resolve)
	if err != nil {
		return staticToken{}, err
	}
	if HasControlChars(config.UserID) {
		return staticToken{}, fmt.Errorf("user_id %q has control characters: remove them", config.UserID)
	}
	return staticToken{
		hash:  hash,
		short: quality.short || config.Short,
		plain: !quality.unofferable && !config.Unofferable,
		grant: &Grant{UserID: config.UserID, Credential: "bearer " + hex.EncodeToString(hash[:])},
	}, nil
}

// checkTwins refuses two equal tokens, of which one must be a mistake. Only files may
// hold the same token for the same user, because so the user's next token takes the
// place of the last.
func (o *Options) checkTwins(tokens staticTokens, configs []Static) error {
	seen := make(map[[sha256.Size]byte]int, len(tokens))
	for i, token := range tokens {
		first, again := seen[token.hash]
		rotating := again && tokens[first].grant.UserID == token.grant.UserID &&
			(o.isInFile(configs[i].Token) || o.isInFile(configs[first].Token))
		if again && !rotating {
			return fmt.Errorf("auth.bearer[%d]: the same token as auth.bearer[%d]: remove one", i, first)
		}
		seen[token.hash] = i
	}
	return nil
}

// which names the tokens for which is is true, by their places in the configuration.
func (tokens staticTokens) which(is func(staticToken) bool) []string {
	var fields []string
	for i, token := range tokens {
		if is(token) {
			fields = append(fields, fmt.Sprintf("auth.bearer[%d]", i))
		}
	}
	return fields
}

// tokenQuality holds the properties of a token that its hash does not show.
type tokenQuality struct {
	short       bool // fewer than minTokenSize bytes
	unofferable bool // no token of RFC 9110, section 5.6.2, as a subprotocol must be
}

// hashOfToken returns the SHA-256 of a configured token. No error of it shows any
// part of the token, whether written out or resolved.
func hashOfToken(configured string, resolve Resolver) (hash [sha256.Size]byte, quality tokenQuality, err error) {
	token, err := resolve("token", configured)
	if err != nil {
		return hash, quality, err
	}
	if len(token) >= len(hashPrefix) && strings.EqualFold(token[:len(hashPrefix)], hashPrefix) {
		raw, err := hex.DecodeString(token[len(hashPrefix):])
		if err != nil || len(raw) != len(hash) {
			return hash, quality, errors.New("token begins with sha256: and must go on with 64 hexadecimal digits")
		}
		return [sha256.Size]byte(raw), quality, nil
	}
	switch {
	case token == "":
		return hash, quality, errors.New("token is empty: give one, a placeholder for it, or sha256:<hex>")
	case len(token) > maxTokenSize:
		return hash, quality, fmt.Errorf("token is longer than %d bytes, which is never accepted: give a shorter one", maxTokenSize)
	case HasControlChars(token), token != strings.TrimSpace(token):
		return hash, quality, errors.New("token has control characters, or white space around it, which no client can send: remove them")
	}
	quality = tokenQuality{short: len(token) < minTokenSize, unofferable: !httpguts.ValidHeaderFieldName(token)}
	return sha256.Sum256([]byte(token)), quality, nil
}

// Hashed replaces a token that is written out by its hash and its tokenQuality.
func Hashed(token string, resolve Resolver) (Static, error) {
	hash, quality, err := hashOfToken(token, resolve)
	if err != nil {
		return Static{}, err
	}
	return Static{
		Token: hashPrefix + hex.EncodeToString(hash[:]),
		Short: quality.short, Unofferable: quality.unofferable,
	}, nil
}

// credentials names the tokens.
func (tokens staticTokens) credentials() []string {
	names := make([]string, 0, len(tokens))
	for _, t := range tokens {
		names = append(names, t.grant.Credential)
	}
	return names
}
