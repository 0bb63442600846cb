package token

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

const (
	jwksTimeout  = 10 * time.Second
	maxJWKSSize  = 1 << 20
	jwksInterval = 10 * time.Minute // between fetches that no token causes
	jwksMinRetry = time.Second      // after a fetch that failed, doubled for each
	jwksMaxRetry = time.Minute

	// jwksBetween is the least time between fetches because of unknown keys,
	// which any stranger can name.
	jwksBetween = time.Minute

	// jwksPatience is how long a handshake waits for keys.
	jwksPatience = 5 * time.Second
)

// KeySource is a JWK set at a URL. The keys stay when a fetch fails.
type KeySource struct {
	url    string
	cancel context.CancelFunc
	ctx    context.Context //nolint:containedctx // its life is that of the source

	mu       sync.Mutex // guards what follows
	client   *http.Client
	logger   *zap.Logger
	known    []*verifyKey
	leftOut  []leftOutKey  // of the last set
	fetching chan struct{} // closed when the fetch that is under way is over
	failures int           // in a row
	asked    time.Time     // when a fetch was last made because of an unknown key
}

func newKeySource(address string, client *http.Client, logger *zap.Logger) *KeySource {
	s := &KeySource{url: address, client: client, logger: logger}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// StartKeySource fetches the set at a URL in the background, and keeps it fresh until
// Close. It trusts the authorities, or the system's where authorities is nil.
func StartKeySource(address string, authorities *x509.CertPool, logger *zap.Logger) *KeySource {
	s := newKeySource(address, newHTTPClient(authorities, jwksTimeout, 0), logger)
	go s.run(s.fetch())
	return s
}

// Close ends the fetching.
func (s *KeySource) Close() { s.cancel() }

// Adopt makes other authorities and another logger the ones to use, as a newer
// configuration may have them.
func (s *KeySource) Adopt(authorities *x509.CertPool, logger *zap.Logger) {
	client := newHTTPClient(authorities, jwksTimeout, 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.client, s.logger = client, logger
}

// run keeps the set fresh for as long as the source lives. The first fetch is
// under way.
func (s *KeySource) run(fetched <-chan struct{}) {
	defer panics.Contain()
	for ; s.ctx.Err() == nil; fetched = s.fetch() {
		<-fetched
		timer := time.NewTimer(s.pause())
		select {
		case <-timer.C:
		case <-s.ctx.Done():
			timer.Stop()
		}
	}
}

// pause is how long to wait for the next fetch that no token causes.
func (s *KeySource) pause() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	base := jwksInterval
	if s.failures > 0 {
		base = min(jwksMinRetry<<min(s.failures-1, 10), jwksMaxRetry)
	}
	return base - time.Duration(rand.Int64N(int64(base)/10)) //nolint:gosec // jitter needs no secrecy
}

// fetch starts a fetch unless one is under way. The channel is closed when it
// is over.
func (s *KeySource) fetch() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetchLocked()
}

func (s *KeySource) fetchLocked() <-chan struct{} {
	if s.fetching == nil {
		s.fetching = make(chan struct{})
		go s.fetchNow(s.client, s.fetching)
	}
	return s.fetching
}

func (s *KeySource) fetchNow(client *http.Client, done chan struct{}) {
	defer panics.Contain()
	keys, leftOut, err := s.download(client)
	s.mu.Lock()
	logger := s.logger
	said := s.leftOut
	if err == nil {
		s.known, s.failures, s.leftOut = keys, 0, leftOut
	} else {
		s.failures++
	}
	kept := len(s.known)
	s.fetching = nil
	s.mu.Unlock()
	close(done)
	if err != nil && s.ctx.Err() == nil {
		logger.Warn("fetching a key set failed", zap.String("url", bareURL(s.url)), zap.Error(err), zap.Int("keys_kept", kept))
	}
	warnOfLeftOut(logger, bareURL(s.url), leftOut, said)
}

func (s *KeySource) download(client *http.Client) (keys []*verifyKey, leftOut []leftOutKey, err error) {
	// Handshakes wait for the end of it.
	defer panics.ContainInto(&err, nil)
	req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	body, err := bodyOf(client, req, maxJWKSSize)
	if err != nil {
		return nil, nil, err
	}
	keys, err = keysFromSet(body)
	for _, k := range keys {
		k.credential = s.credential()
	}
	return keys, leftOutOf(body, false), err
}

// credential is the set and not its keys, because issuers rotate them while
// their tokens stay good.
func (s *KeySource) credential() string { return credentialAt("jwks", canonicalURL(s.url)) }

// credentials implements keySet.
func (s *KeySource) credentials() []string { return []string{s.credential()} }

// keys implements keySet.
func (s *KeySource) keys(ctx context.Context) ([]*verifyKey, error) {
	s.mu.Lock()
	known, fetching := s.known, s.fetching
	s.mu.Unlock()
	if known == nil && fetching != nil {
		await(ctx, fetching)
		s.mu.Lock()
		known = s.known
		s.mu.Unlock()
	}
	if known == nil {
		return nil, ErrUnavailable
	}
	return known, nil
}

// renew implements keySet.
func (s *KeySource) renew(ctx context.Context) bool {
	s.mu.Lock()
	if s.fetching == nil && !s.asked.IsZero() && time.Since(s.asked) < jwksBetween {
		s.mu.Unlock()
		return false
	}
	if s.fetching == nil {
		s.asked = time.Now()
	}
	fetching := s.fetchLocked()
	s.mu.Unlock()
	return await(ctx, fetching)
}

// await waits for done, but not longer than a handshake may.
func await(ctx context.Context, done <-chan struct{}) bool {
	timer := time.NewTimer(jwksPatience)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	return false
}

// CheckKeySetURL refuses a URL that would let an attacker on the network path put in
// keys.
func CheckKeySetURL(address string, allowHTTP bool) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "":
		return errors.New("it is neither a URL nor the name of a file")
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return fmt.Errorf("the scheme %q is not supported: use https", u.Scheme)
	case !allowHTTP && !isLoopback(u.Hostname()):
		return errors.New("keys that come over http could be anyone's: use https, a loopback address, or allow_http")
	}
	return nil
}

// Interface guards
var (
	_ keySet = (*KeySource)(nil)
)
