package wsgateway

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// rotationInterval is how often files are looked at. A change counts when it is
// seen twice, so that nothing is taken over that is half written.
const rotationInterval = 4 * time.Second

// rotation is a part of the configuration that comes out of a file, and is taken
// over again when that changes.
type rotation struct {
	field string                 // of the configuration
	files []string               // that the text comes out of
	text  func() (string, error) // what it is now
	take  func(*verifiers) error // makes it part of what is in force; on error nothing is changed

	inForce, seen [sha256.Size]byte // of the text
	complaint     string            // what the log said last, where it is still so
}

// follow adds one. It notes what the text is before that is compiled: should it
// change meanwhile, it is compiled once more. What can be read only once is not
// followed.
func (all *rotations) follow(r *rotation) {
	if checkRereadable(r.files...) != nil {
		return
	}
	if now, err := r.text(); err == nil {
		r.inForce = sha256.Sum256([]byte(now))
		r.seen = r.inForce
	}
	*all = append(*all, r)
}

// read returns the text, and does not wait for one.
func (r *rotation) read() (string, error) {
	if err := checkRereadable(r.files...); err != nil {
		return "", err
	}
	return r.text()
}

// look takes the text over where it has changed, and reports whether it has.
func (r *rotation) look(next *verifiers, logger *zap.Logger) bool {
	text, err := r.read()
	if err != nil {
		r.complain(logger, err)
		return false
	}
	sum := sha256.Sum256([]byte(text))
	switch {
	case sum == r.inForce:
		r.seen = sum
		if r.complaint != "" {
			r.complaint = ""
			logger.Info("a file holds again what is in force", zap.String("field", r.field))
		}
		return false
	case sum != r.seen:
		r.seen = sum
		return false
	}
	if err := r.take(next); err != nil {
		r.complain(logger, err)
		return false
	}
	r.inForce, r.complaint = sum, ""
	logger.Info("what a file holds has changed, and is in force", zap.String("field", r.field))
	return true
}

// complain warns once of what stays as it is.
func (r *rotation) complain(logger *zap.Logger, err error) {
	if complaint := err.Error(); complaint != r.complaint {
		r.complaint = complaint
		logger.Warn("what a file holds cannot be used: what it held before stays in force",
			zap.String("field", r.field), zap.Error(err))
	}
}

// rotations are those of one configuration of authentication.
type rotations []*rotation

// look returns what is to be in force now, where a file has changed that.
func (all rotations) look(current *verifiers, logger *zap.Logger) (next *verifiers, changed bool) {
	copied := *current
	for _, r := range all {
		if r.look(&copied, logger) {
			changed = true
		}
	}
	return &copied, changed
}

// watch looks at the files until ctx ends, and calls move with what is to be in
// force when they have changed.
func (all rotations) watch(ctx context.Context, logger *zap.Logger, current func() *verifiers, move func(*verifiers)) {
	ticker := time.NewTicker(rotationInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		all.once(logger, current(), move)
	}
}

// once is one look. A panic in it does not keep the next from coming.
func (all rotations) once(logger *zap.Logger, current *verifiers, move func(*verifiers)) {
	defer contain(logger)
	if next, changed := all.look(current, logger); changed {
		move(next)
	}
}

// verifiers are what tokens are checked with, as far as files may change it.
// They are replaced and not written into.
type verifiers struct {
	static staticTokens
	jwt    *jwtVerifier // nil without
}

// followTokens follows the static tokens that stand in files.
func (all *rotations) followTokens(configs []BearerToken) {
	for i, config := range configs {
		if !isInFile(config.Token) {
			continue
		}
		all.follow(&rotation{
			field: fmt.Sprintf("auth.bearer[%d]", i),
			files: filesIn(config.Token),
			text:  func() (string, error) { return resolveSecret("token", config.Token) },
			take: func(next *verifiers) error {
				token, err := newStaticToken(config)
				if err != nil {
					return err
				}
				tokens := slices.Clone(next.static)
				tokens[i] = token
				if err := tokens.checkTwins(configs); err != nil {
					return err
				}
				next.static = tokens
				return nil
			},
		})
	}
}

// followKeys follows the keys that stand in files.
func (all *rotations) followKeys(configs []JWTKey) {
	for i, config := range configs {
		if !isInFile(config.Key) {
			continue
		}
		all.follow(&rotation{
			field: fmt.Sprintf("auth.jwt.keys[%d]", i),
			files: filesIn(config.Key),
			text:  func() (string, error) { return resolveSecret("key", config.Key) },
			take: func(next *verifiers) error {
				keys, err := next.jwt.compileKey(config)
				if err != nil {
					return err
				}
				next.jwt = next.jwt.withKeys(i, keys)
				return nil
			},
		})
	}
}

// followSet follows a key set. Its credential is the set, so that its keys may
// change without an end for the connections that they let in.
func (all *rotations) followSet(field string, s *fileKeySet) {
	all.follow(&rotation{
		field: field,
		files: []string{s.name},
		text:  func() (string, error) { return readSecretFile(s.name) },
		take:  func(*verifiers) error { return s.read() },
	})
}

// fileKeySet is a JWK set in a file.
type fileKeySet struct {
	name    string
	logger  *zap.Logger
	known   atomic.Pointer[[]*verifyKey]
	leftOut []leftOutKey // for read alone
}

// read takes over what the file holds.
func (s *fileKeySet) read() error {
	text, err := readSecretFile(s.name)
	switch {
	case err == nil:
	case strings.ContainsAny(s.name, "@?"): // a URL with a mistake in it, and perhaps a password
		return errors.New("it is neither a URL nor the name of a file that can be read: a URL begins with https://")
	case errors.As(err, new(*fs.PathError)):
		return fmt.Errorf("reading the key set: %w", err)
	default:
		return fmt.Errorf("the key set %s %w", s.name, err)
	}
	if !json.Valid([]byte(text)) {
		return fmt.Errorf("the file %s is not JSON: PEM and secrets are given as key {file.%s}", s.name, s.name)
	}
	keys, err := keysFromJSON([]byte(text), nil)
	if err != nil {
		return err
	}
	for _, k := range keys {
		k.credential = s.credential()
	}
	s.known.Store(&keys)
	leftOut := leftOutOf([]byte(text), true)
	warnOfLeftOut(s.logger, s.name, leftOut, s.leftOut)
	s.leftOut = leftOut
	return nil
}

// credential is the same however the name of the file is spelled.
func (s *fileKeySet) credential() string {
	place, err := filepath.Abs(s.name)
	if err != nil {
		place = s.name
	}
	return credentialAt("jwks", place)
}

// keys implements keySet.
func (s *fileKeySet) keys(context.Context) ([]*verifyKey, error) { return *s.known.Load(), nil }

// credentials implements keySet.
func (s *fileKeySet) credentials() []string { return []string{s.credential()} }

// renew implements keySet.
func (*fileKeySet) renew(context.Context) bool { return false }

// Interface guards
var _ keySet = (*fileKeySet)(nil)
