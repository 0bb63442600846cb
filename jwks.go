package wsgateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

const (
	jwksTimeout  = 10 * time.Second
	maxJWKSSize  = 1 << 20
	jwksInterval = 10 * time.Minute // between fetches that nobody asks for
	jwksMinRetry = time.Second      // after a fetch that failed, doubled for each
	jwksMaxRetry = time.Minute

	// jwksBetween is the least time between fetches because of unknown keys,
	// which any stranger can name.
	jwksBetween = time.Minute

	// jwksPatience is how long a handshake waits for keys.
	jwksPatience = 5 * time.Second
)

// keySources are the key sets that the loaded configurations name. What was
// fetched belongs to the process, so that a reload fetches nothing anew.
var keySources = caddy.NewUsagePool()

// keySource is a JWK set at a URL.
type keySource struct {
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

func newKeySource(address string, client *http.Client, logger *zap.Logger) *keySource {
	s := &keySource{url: address, client: client, logger: logger}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Destruct implements caddy.Destructor: no loaded configuration names the set.
func (s *keySource) Destruct() error {
	s.cancel()
	return nil
}

// adopt makes the newest configuration's client and logger the ones to use.
func (s *keySource) adopt(client *http.Client, logger *zap.Logger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.client, s.logger = client, logger
}

// run keeps the set fresh for as long as the source lives. The first fetch is
// under way.
func (s *keySource) run(fetched <-chan struct{}) {
	defer contain(nil)
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

// pause is how long to wait for the next fetch that nobody asks for.
func (s *keySource) pause() time.Duration {
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
func (s *keySource) fetch() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetchLocked()
}

func (s *keySource) fetchLocked() <-chan struct{} {
	if s.fetching == nil {
		s.fetching = make(chan struct{})
		go s.fetchNow(s.client, s.fetching)
	}
	return s.fetching
}

func (s *keySource) fetchNow(client *http.Client, done chan struct{}) {
	defer contain(nil)
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

// warnOfLeftOut says which keys of a set sign tokens that nobody can verify, but
// for those of which it was said.
func warnOfLeftOut(logger *zap.Logger, place string, keys, said []leftOutKey) {
	for _, k := range keys {
		if !slices.Contains(said, k) {
			logger.Warn("a key of a key set is left out, so that tokens that it signs are refused",
				zap.String("place", place), zap.String("kid", k.id), zap.String("reason", k.reason))
		}
	}
}

func (s *keySource) download(client *http.Client) (keys []*verifyKey, leftOut []leftOutKey, err error) {
	// Handshakes wait for the end of it.
	defer containInto(&err, nil)
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
func (s *keySource) credential() string { return credentialAt("jwks", canonicalURL(s.url)) }

// credentials implements keySet.
func (s *keySource) credentials() []string { return []string{s.credential()} }

// bodyOf makes a request whose answer must be 200 and no larger than limit. Its
// error does not show the URL, which may hold a password.
func bodyOf(client *http.Client, req *http.Request, limit int64) ([]byte, error) {
	res, err := client.Do(req)
	if err != nil {
		if where, ok := errors.AsType[*url.Error](err); ok {
			err = where.Err
		}
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		_, _ = io.CopyN(io.Discard, res.Body, 4<<10) // else the connection could not be used again
		return nil, fmt.Errorf("the status is %d and not 200", res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(body)) > limit:
		return nil, fmt.Errorf("the answer is larger than %d bytes", limit)
	}
	return body, nil
}

// bareURL is a URL as it may be shown: its user, password and query may be secret.
func bareURL(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

// credentialAt is what stands for a place in the registry, and shows nothing of
// it.
func credentialAt(kind, address string) string {
	sum := sha256.Sum256([]byte(address))
	return kind + " " + hex.EncodeToString(sum[:])
}

// keys implements keySet.
func (s *keySource) keys(ctx context.Context) ([]*verifyKey, error) {
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
		return nil, errUnavailable
	}
	return known, nil
}

// renew implements keySet.
func (s *keySource) renew(ctx context.Context) bool {
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

// checkJWKSURL refuses what would let someone on the way put in keys of theirs.
func checkJWKSURL(address string, allowHTTP bool) error {
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

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Interface guards
var (
	_ caddy.Destructor = (*keySource)(nil)
	_ keySet           = (*keySource)(nil)
)
