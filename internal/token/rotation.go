package token

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// rotationInterval is how often files are looked at. A change counts when it is
// seen twice, so that nothing is taken over that is half written.
const rotationInterval = 4 * time.Second

// rotation is a text of the configuration that comes out of files, and is taken over
// again when a file changes.
type rotation struct {
	field string                 // of the configuration
	files []string               // that the text comes out of
	text  func() (string, error) // reads the text as it is now
	take  func(*material) error  // puts it into the material; on error nothing is changed

	inForce, seen [sha256.Size]byte // hashes of the text
	complaint     string            // the warning in the log, while it still holds
}

// read returns the text, and does not wait for one.
func (r *rotation) read() (string, error) {
	if err := checkRereadable(r.files...); err != nil {
		return "", err
	}
	return r.text()
}

// look takes the text over where it has changed, and reports whether it has.
func (r *rotation) look(next *material, logger *zap.Logger) bool {
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

// complain warns once that the text before stays in force.
func (r *rotation) complain(logger *zap.Logger, err error) {
	if complaint := err.Error(); complaint != r.complaint {
		r.complaint = complaint
		logger.Warn("what a file holds cannot be used: what it held before stays in force",
			zap.String("field", r.field), zap.Error(err))
	}
}

// follower takes over changes of files, for one Verifier.
type follower struct {
	all         []*rotation
	logger      *zap.Logger
	reportPanic func(*panics.Panic) // nil for panics.Report
}

// follow adds a rotation. It notes the text before the text is compiled: should the
// text change meanwhile, it is compiled once more. A file that can be read only once is
// not followed.
func (f *follower) follow(r *rotation) {
	if checkRereadable(r.files...) != nil {
		return
	}
	if now, err := r.text(); err == nil {
		r.inForce = sha256.Sum256([]byte(now))
		r.seen = r.inForce
	}
	f.all = append(f.all, r)
}

// look returns the material to put into force, where a file has changed.
func (f *follower) look(current *material) (next *material, changed bool) {
	copied := *current
	for _, r := range f.all {
		if r.look(&copied, f.logger) {
			changed = true
		}
	}
	return &copied, changed
}

// watch looks at the files until ctx ends, and calls move with the material to put into
// force when one has changed.
func (f *follower) watch(ctx context.Context, current func() *material, move func(*material)) {
	ticker := time.NewTicker(rotationInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		f.once(current(), move)
	}
}

// once is one look. A panic in it does not keep the next from coming.
func (f *follower) once(current *material, move func(*material)) {
	defer panics.ContainTo(f.reportPanic)
	if next, changed := f.look(current); changed {
		move(next)
	}
}

// followTokens follows the static tokens that stand in files.
func (f *follower) followTokens(o *Options) {
	for i, config := range o.Static {
		if !o.isInFile(config.Token) {
			continue
		}
		f.follow(&rotation{
			field: fmt.Sprintf("auth.bearer[%d]", i),
			files: o.FilesIn(config.Token),
			text:  func() (string, error) { return o.Resolve("token", config.Token) },
			take: func(next *material) error {
				token, err := o.newStaticToken(config)
				if err != nil {
					return err
				}
				tokens := slices.Clone(next.static)
				tokens[i] = token
				if err := o.checkTwins(tokens, o.Static); err != nil {
					return err
				}
				next.static = tokens
				return nil
			},
		})
	}
}

// followKeys follows the keys that stand in files.
func (f *follower) followKeys(o *Options) {
	if o.JWT == nil {
		return
	}
	for i, config := range o.JWT.Keys {
		if !o.isInFile(config.Key) {
			continue
		}
		f.follow(&rotation{
			field: fmt.Sprintf("auth.jwt.keys[%d]", i),
			files: o.FilesIn(config.Key),
			text:  func() (string, error) { return o.Resolve("key", config.Key) },
			take: func(next *material) error {
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

// followSet follows a key set. The credential is the set and not its keys, so that keys
// may change without ending the connections that they let in.
func (f *follower) followSet(field string, s *keyFile) {
	f.follow(&rotation{
		field: field,
		files: []string{s.name},
		text:  func() (string, error) { return ReadSecretFile(s.name) },
		take:  func(*material) error { return s.read() },
	})
}
