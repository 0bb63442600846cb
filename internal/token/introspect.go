package token

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/strictjson"
)

const (
	defaultIntrospectCache   = 10 * time.Second
	defaultIntrospectTimeout = 5 * time.Second
	maxIntrospectSize        = 64 << 10
	maxIntrospectCached      = 10_000 // of good tokens, and as many of others

	// maxIntrospectCalls bounds the calls at a time: strangers can make up tokens
	// without end.
	maxIntrospectCalls = 16

	// maxIntrospectWaiting bounds the memory of tokens that wait for their turn.
	maxIntrospectWaiting = 10_000
)

// errTokenInactive is the service's answer about a token that is not good.
var errTokenInactive = refusedToken("the introspection service says that the token is not active")

// errIntrospectBusy is an ErrUnavailable for a token beyond maxIntrospectWaiting.
var errIntrospectBusy = fmt.Errorf("%w: the introspection service has too many tokens to look at", ErrUnavailable)

// introspector asks a service about tokens (RFC 7662) and remembers its answers.
type introspector struct {
	url         string
	client      *http.Client
	timeout     time.Duration // how long a token waits for its turn
	logger      *zap.Logger
	reportPanic func(*panics.Panic) // nil for panics.Report
	turns       chan struct{}       // holds one for each call that is under way

	mu      sync.Mutex // guards what follows
	pending map[tokenKey]*inquiry
	good    *answers // apart from bad, so that no flood of made-up tokens
	bad     *answers // pushes out the answers about good ones
	down    bool     // the last call failed
}

// inquiry is an answer that is under way.
type inquiry struct {
	done  chan struct{} // closed when the rest is there
	grant *Grant
	err   error
}

func (o *Options) newIntrospector(config *Introspection) (*introspector, error) {
	address, err := o.Resolve("url", config.URL)
	if err != nil {
		return nil, err
	}
	if config.Timeout < 0 {
		return nil, fmt.Errorf("timeout: %s is negative", config.Timeout)
	}
	if err := CheckIntrospectionURL(address, config.AllowHTTP); err != nil {
		return nil, err
	}
	timeout := config.Timeout
	if timeout == 0 {
		timeout = defaultIntrospectTimeout
	}
	ttl := defaultIntrospectCache
	if config.Cache != nil {
		ttl = *config.Cache
	}
	if ttl < 0 {
		return nil, fmt.Errorf("cache: %s is negative", ttl)
	}
	return &introspector{
		url:         address,
		client:      newHTTPClient(config.Authorities, timeout, maxIntrospectCalls),
		timeout:     timeout,
		logger:      o.Logger,
		reportPanic: o.ReportPanic,
		turns:       make(chan struct{}, maxIntrospectCalls),
		pending:     make(map[tokenKey]*inquiry),
		good:        newAnswers(ttl, maxIntrospectCached),
		bad:         newAnswers(ttl, maxIntrospectCached),
	}, nil
}

// CheckIntrospectionURL refuses a URL that would let an attacker on the network path
// read the tokens.
func CheckIntrospectionURL(address string, allowHTTP bool) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return errors.New("it is not a URL: give one that begins with https://")
	case u.Scheme == "http" && !allowHTTP && !isLoopback(u.Hostname()):
		return errors.New("tokens that go over http could be read by anyone: use https, a loopback address, or allow_http")
	}
	return nil
}

// credential is the service's name among credentials.
func (i *introspector) credential() string { return credentialAt("introspect", canonicalURL(i.url)) }

// verify asks about a token, once for any number of requests at a time.
func (i *introspector) verify(ctx context.Context, token string, now time.Time) (*Grant, error) {
	key := sha256.Sum256([]byte(token))
	i.mu.Lock()
	if known := i.known(key, now); known != nil {
		i.mu.Unlock()
		return unlessOver(known.grant, known.err, now)
	}
	asked := i.pending[key]
	if asked == nil {
		if len(i.pending) >= maxIntrospectWaiting {
			i.mu.Unlock()
			return nil, errIntrospectBusy
		}
		asked = &inquiry{done: make(chan struct{})}
		i.pending[key] = asked
		go i.ask(token, key, asked)
	}
	i.mu.Unlock()
	select {
	case <-asked.done:
		return unlessOver(asked.grant, asked.err, now)
	case <-ctx.Done():
		return nil, ErrUnavailable
	}
}

// known is what is remembered of a token, or nil. It is called under mu.
func (i *introspector) known(key tokenKey, now time.Time) *rememberedAnswer {
	if known := i.good.get(key, now); known != nil {
		return known
	}
	return i.bad.get(key, now)
}

// unlessOver returns the service's answer, or an error once the token has expired.
func unlessOver(g *Grant, err error, now time.Time) (*Grant, error) {
	if err == nil && !g.Expires.IsZero() && !now.Before(g.Expires) {
		return nil, errTokenInactive
	}
	return g, err
}

// ask fills the answer in when it is the token's turn.
func (i *introspector) ask(token string, key tokenKey, asked *inquiry) {
	defer panics.Contain()
	if !i.takeTurn() {
		i.mu.Lock()
		asked.err = errIntrospectBusy
		delete(i.pending, key)
		i.mu.Unlock()
		close(asked.done)
		return
	}
	g, err := i.call(token)
	<-i.turns
	i.learn(key, asked, g, err)
}

// takeTurn waits until the service may be asked.
func (i *introspector) takeTurn() bool {
	timer := time.NewTimer(i.timeout)
	defer timer.Stop()
	select {
	case i.turns <- struct{}{}:
		return true
	case <-timer.C:
		return false
	}
}

// learn passes the outcome of a call on to the waiting requests, and remembers it.
func (i *introspector) learn(key tokenKey, asked *inquiry, g *Grant, err error) {
	failed := err != nil && !errors.Is(err, ErrBadCredential)
	i.mu.Lock()
	turned := failed != i.down
	i.down = failed
	asked.grant, asked.err = g, err
	switch {
	case failed:
		asked.err = ErrUnavailable // and it is asked anew
	case err != nil:
		i.bad.put(key, nil, err, time.Now())
	default:
		i.good.put(key, g, nil, time.Now())
	}
	delete(i.pending, key)
	i.mu.Unlock()
	close(asked.done)
	switch {
	case turned && failed:
		i.logger.Warn("the introspection service does not answer as it should", zap.String("url", bareURL(i.url)), zap.Error(err))
	case turned:
		i.logger.Info("the introspection service answers again", zap.String("url", bareURL(i.url)))
	}
}

// call makes one request to the service, which carries nothing of the client's request
// but the token, and holds nothing of it: many requests may wait for the answer.
func (i *introspector) call(token string) (g *Grant, err error) {
	defer panics.ContainInto(&err, i.reportPanic) // handshakes wait for the answer
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}.Encode()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, i.url, strings.NewReader(form))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header["Idempotency-Key"] = nil // not sent: net/http may ask again where the service had just hung up
	body, err := bodyOf(i.client, req, maxIntrospectSize)
	if err != nil {
		return nil, err
	}
	object, err := strictjson.ParseObject(body)
	if err != nil {
		return nil, fmt.Errorf("parsing the answer: %w", err)
	}
	return i.grantOf(claims{object})
}

func (i *introspector) grantOf(c claims) (*Grant, error) {
	active, ok := c.Get("active").Bool()
	if !ok {
		return nil, errors.New("the answer does not say whether the token is active")
	}
	if !active {
		return nil, errTokenInactive
	}
	g := &Grant{claims: c, Credential: i.credential()}
	if g.Expires, _, ok = c.dateOrNull("exp"); !ok {
		return nil, errors.New("the exp of the answer is no date")
	}
	if g.Issued, _, ok = c.dateOrNull("iat"); !ok {
		return nil, errors.New("the iat of the answer is no date")
	}
	for _, claim := range [...]string{"sub", "username"} {
		if v := c.Get(claim); v == nil || v.IsNull() {
			continue
		}
		if g.UserID, ok = c.userID(claim); !ok {
			return nil, errJWTUser
		}
		break
	}
	g.JTI, _ = c.Get("jti").Text()
	g.Issuer, _ = c.Get("iss").Text()
	return g, nil
}
