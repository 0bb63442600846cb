package wsgateway

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

	"github.com/wsgateway/caddy-ws-gateway/internal/strictjson"
)

const (
	defaultIntrospectCache   = 10 * time.Second
	defaultIntrospectTimeout = 5 * time.Second
	maxIntrospectSize        = 64 << 10
	maxIntrospectCached      = 10_000
)

// errTokenInactive is the service's word.
const errTokenInactive = credentialError("the introspection service says that the token is not active")

// introspector asks a service about tokens (RFC 7662) and remembers its answers.
type introspector struct {
	url    string
	client *http.Client
	ttl    time.Duration
	logger *zap.Logger

	mu    sync.Mutex // guards what follows
	known map[[sha256.Size]byte]*introspection
	down  bool // the last call failed
}

// introspection is an answer, or one that is under way.
type introspection struct {
	done  chan struct{} // closed when the rest is there
	grant *grant
	err   error
	until time.Time // what it may be used for; guarded by the introspector's mu
}

func newIntrospector(config *Introspection, address string, client *http.Client, logger *zap.Logger) (*introspector, error) {
	if err := checkIntrospectURL(address); err != nil {
		return nil, err
	}
	i := &introspector{
		url: address, client: client, ttl: defaultIntrospectCache, logger: logger,
		known: make(map[[sha256.Size]byte]*introspection),
	}
	if config.Cache != nil {
		i.ttl = time.Duration(*config.Cache)
	}
	if i.ttl < 0 {
		return nil, fmt.Errorf("cache: %s is negative", i.ttl)
	}
	return i, nil
}

func checkIntrospectURL(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("it is not a URL: give one that begins with https:// or http://")
	}
	return nil
}

// credential is what stands for the service in the registry.
func (i *introspector) credential() string { return "introspect " + i.url }

// verify asks about a token, once for any number of requests at a time.
func (i *introspector) verify(ctx context.Context, token string, now time.Time) (*grant, error) {
	key := sha256.Sum256([]byte(token))
	i.mu.Lock()
	answer := i.known[key]
	if answer == nil || !answer.until.IsZero() && !now.Before(answer.until) {
		i.makeRoom(now)
		answer = &introspection{done: make(chan struct{})}
		i.known[key] = answer
		go i.ask(context.WithoutCancel(ctx), token, key, answer)
	}
	i.mu.Unlock()
	select {
	case <-answer.done:
		if answer.err == nil && !answer.grant.expires.IsZero() && !now.Before(answer.grant.expires) {
			return nil, errTokenInactive
		}
		return answer.grant, answer.err
	case <-ctx.Done():
		return nil, errUnavailable
	}
}

// makeRoom keeps what is remembered bounded. It is called under mu.
func (i *introspector) makeRoom(now time.Time) {
	if len(i.known) < maxIntrospectCached {
		return
	}
	for key, answer := range i.known {
		if !answer.until.IsZero() && !now.Before(answer.until) {
			delete(i.known, key)
		}
	}
	for key, answer := range i.known { // any will do
		if len(i.known) < maxIntrospectCached {
			return
		}
		if !answer.until.IsZero() {
			delete(i.known, key)
		}
	}
}

// ask fills the answer in.
func (i *introspector) ask(ctx context.Context, token string, key [sha256.Size]byte, answer *introspection) {
	defer contain(nil)
	g, err := i.call(ctx, token)
	failed := err != nil && !errors.Is(err, errBadCredential)
	i.mu.Lock()
	turned := failed != i.down
	i.down = failed
	answer.grant, answer.err = g, err
	answer.until = time.Now().Add(i.ttl)
	if failed {
		answer.err = errUnavailable
		delete(i.known, key) // to be asked anew
	}
	i.mu.Unlock()
	close(answer.done)
	switch {
	case turned && failed:
		i.logger.Warn("the introspection service does not answer as it should", zap.Error(err))
	case turned:
		i.logger.Info("the introspection service answers again")
	}
}

// call makes one request. The client's own is no part of it.
func (i *introspector) call(ctx context.Context, token string) (g *grant, err error) {
	defer containInto(&err, i.logger) // handshakes wait for the answer
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, i.url, strings.NewReader(form))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	body, err := bodyOf(i.client, req, maxIntrospectSize)
	if err != nil {
		if where, ok := errors.AsType[*url.Error](err); ok { // it shows the URL, which may hold a password
			err = where.Err
		}
		return nil, err
	}
	object, err := strictjson.ParseObject(body)
	if err != nil {
		return nil, fmt.Errorf("parsing the answer: %w", err)
	}
	return i.grantOf(claims{object})
}

func (i *introspector) grantOf(c claims) (*grant, error) {
	active, ok := c.Get("active").Bool()
	if !ok {
		return nil, errors.New("the answer does not say whether the token is active")
	}
	if !active {
		return nil, errTokenInactive
	}
	g := &grant{claims: c, credential: i.credential()}
	if g.expires, _, ok = c.date("exp"); !ok {
		return nil, errors.New("the exp of the answer is no date")
	}
	claim := "sub"
	if c.Get(claim) == nil {
		claim = "username"
	}
	if g.userID, ok = c.userID(claim); !ok {
		return nil, errJWTUser
	}
	g.jti, _ = c.Get("jti").Text()
	return g, nil
}
