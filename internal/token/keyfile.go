package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"
)

// keyFile is a JWK set in a file.
type keyFile struct {
	name    string
	logger  *zap.Logger
	known   atomic.Pointer[[]*verifyKey]
	leftOut []leftOutKey // for read alone
}

// read takes over the keys in the file.
func (s *keyFile) read() error {
	text, err := ReadSecretFile(s.name)
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
func (s *keyFile) credential() string {
	place, err := filepath.Abs(s.name)
	if err != nil {
		place = s.name
	}
	return credentialAt("jwks", place)
}

// keys implements keySet.
func (s *keyFile) keys(context.Context) ([]*verifyKey, error) { return *s.known.Load(), nil }

// credentials implements keySet.
func (s *keyFile) credentials() []string { return []string{s.credential()} }

// renew implements keySet.
func (*keyFile) renew(context.Context) bool { return false }

// Interface guards
var _ keySet = (*keyFile)(nil)
