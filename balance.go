package wsgateway

import (
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// use is what an upstream's place is taken for.
type use uint8

const (
	forWebSocket use = iota
	forRequest
)

// ledger knows what every upstream address holds, over all gateways and
// configurations of the process.
type ledger struct {
	// mu guards everything below, and is held over each choice together with
	// its count, so that no two choices see the same state.
	mu       sync.Mutex
	backends map[string]*backend
}

// backend is the running state of one upstream address.
type backend struct {
	address  string
	live     int         // WebSocket connections
	requests int         // plain requests of gateways
	fails    []time.Time // when each recent failure of a handshake is forgotten
}

// lease is a counted place at an upstream, from the moment it was chosen.
type lease struct {
	ledger   *ledger
	backend  *backend
	use      use
	released atomic.Bool
}

// candidate is an upstream that may be chosen. Its index is its position in
// the configured list, which is what weights go by.
type candidate struct {
	upstream *reverseproxy.Upstream
	address  string
	index    int
	backend  *backend // set under the ledger's lock; nil where nothing is known
}

// load is what the candidate holds: live WebSockets and running requests,
// those of other reverse_proxy handlers on the same address included.
func (c candidate) load() int {
	live, requests := 0, 0
	if c.backend != nil {
		live, requests = c.backend.live, c.backend.requests
	}
	if c.upstream.Host != nil {
		requests = max(requests, c.upstream.NumRequests())
	}
	return live + requests
}

// balancer chooses upstreams for one handler.
type balancer struct {
	ledger *ledger

	// policy chooses under the ledger's lock; nil where selector does.
	policy policy

	// selector is one of Caddy's policies that does not compare loads.
	selector reverseproxy.Selector

	maxConns     int
	maxFails     int
	failDuration time.Duration
	breaker      reverseproxy.CircuitBreaker
}

func newLedger() *ledger {
	return &ledger{backends: make(map[string]*backend)}
}

// acquire chooses an upstream among pool and counts it in one step. Those that
// skip names are left out. It returns nil when none can be had.
func (b *balancer) acquire(u use, pool reverseproxy.UpstreamPool, skip func(address string) bool, w http.ResponseWriter, r *http.Request) (*lease, *reverseproxy.Upstream) {
	candidates := b.available(u, pool, skip, r)
	if b.policy != nil {
		return b.choose(u, candidates)
	}
	for len(candidates) > 0 {
		candidates = b.ledger.admissible(u, candidates, b)
		chosen := b.selector.Select(upstreamsOf(candidates), r, w)
		i := slices.IndexFunc(candidates, func(c candidate) bool { return c.upstream == chosen })
		if i < 0 {
			return nil, nil
		}
		if l := b.take(u, candidates[i]); l != nil {
			return l, chosen
		}
		candidates = slices.Delete(candidates, i, i+1)
	}
	return nil, nil
}

// available lists the upstreams that health checks, circuit breaker and the
// caller leave, without a lock, because breakers are guests.
func (b *balancer) available(u use, pool reverseproxy.UpstreamPool, skip func(string) bool, r *http.Request) []candidate {
	if b.breaker != nil && !b.breaker.OK() {
		return nil
	}
	candidates := make([]candidate, 0, len(pool))
	for i, up := range pool {
		if !up.Healthy() || u == forRequest && up.Full() {
			continue
		}
		address := dialAddress(up, r)
		if skip != nil && skip(address) {
			continue
		}
		candidates = append(candidates, candidate{upstream: up, address: address, index: i})
	}
	return candidates
}

// choose lets the policy choose among what may be had and counts its choice.
func (b *balancer) choose(u use, candidates []candidate) (*lease, *reverseproxy.Upstream) {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	candidates = b.admissibleLocked(u, candidates)
	if len(candidates) == 0 {
		return nil, nil
	}
	i := b.policy.choose(candidates)
	if i < 0 {
		return nil, nil
	}
	return b.ledger.countLocked(u, candidates[i].address), candidates[i].upstream
}

// take counts the candidate if it still may be had.
func (b *balancer) take(u use, c candidate) *lease {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	if len(b.admissibleLocked(u, []candidate{c})) == 0 {
		return nil
	}
	return b.ledger.countLocked(u, c.address)
}

// admissible is admissibleLocked for callers without the lock.
func (l *ledger) admissible(u use, candidates []candidate, b *balancer) []candidate {
	l.mu.Lock()
	defer l.mu.Unlock()
	return b.admissibleLocked(u, candidates)
}

// admissibleLocked keeps the candidates that are below their cap and have not
// failed too often, in place.
func (b *balancer) admissibleLocked(u use, candidates []candidate) []candidate {
	now := time.Now()
	kept := candidates[:0]
	for _, c := range candidates {
		c.backend = b.ledger.backends[c.address]
		if c.backend != nil && (b.full(u, c.backend) || b.failed(c, now)) {
			continue
		}
		kept = append(kept, c)
	}
	return kept
}

// full tells whether the address holds as many WebSockets as it may.
func (b *balancer) full(u use, be *backend) bool {
	return u == forWebSocket && b.maxConns > 0 && be.live >= b.maxConns
}

// failed tells whether the failures of handshakes, and those that
// reverse_proxy remembers of requests, reach max_fails together.
func (b *balancer) failed(c candidate, now time.Time) bool {
	if b.maxFails <= 0 {
		return false
	}
	fails := c.backend.recentFails(now)
	if fails > 0 && c.upstream.Host != nil {
		fails += c.upstream.Fails()
	}
	return fails >= b.maxFails
}

// fail remembers a failed handshake with the address for fail_duration.
func (b *balancer) fail(address string) {
	if b.failDuration <= 0 {
		return
	}
	now := time.Now()
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	for _, other := range b.ledger.backends {
		b.ledger.forgetLocked(other, now)
	}
	be := b.ledger.backendLocked(address)
	be.fails = append(be.fails, now.Add(b.failDuration))
}

// recentFails drops the failures whose time is over and counts the others.
func (be *backend) recentFails(now time.Time) int {
	be.fails = slices.DeleteFunc(be.fails, func(until time.Time) bool { return !until.After(now) })
	return len(be.fails)
}

func (l *ledger) backendLocked(address string) *backend {
	be := l.backends[address]
	if be == nil {
		be = &backend{address: address}
		l.backends[address] = be
	}
	return be
}

func (l *ledger) countLocked(u use, address string) *lease {
	be := l.backendLocked(address)
	switch u {
	case forWebSocket:
		be.live++
	case forRequest:
		be.requests++
	}
	return &lease{ledger: l, backend: be, use: u}
}

// forgetLocked drops the state of an address that nothing is known of.
func (l *ledger) forgetLocked(be *backend, now time.Time) {
	if be.live == 0 && be.requests == 0 && be.recentFails(now) == 0 {
		delete(l.backends, be.address)
	}
}

// release gives the place back. Calling it again does nothing.
func (l *lease) release() {
	if l == nil || l.released.Swap(true) {
		return
	}
	l.ledger.mu.Lock()
	defer l.ledger.mu.Unlock()
	switch l.use {
	case forWebSocket:
		l.backend.live--
	case forRequest:
		l.backend.requests--
	}
	l.ledger.forgetLocked(l.backend, time.Now())
}

// dialAddress is the upstream's address with the request's placeholders
// filled in.
func dialAddress(up *reverseproxy.Upstream, r *http.Request) string {
	if !hasPlaceholder(up.Dial) {
		return up.Dial
	}
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return up.Dial
	}
	return repl.ReplaceAll(up.Dial, "")
}

func upstreamsOf(candidates []candidate) reverseproxy.UpstreamPool {
	pool := make(reverseproxy.UpstreamPool, len(candidates))
	for i, c := range candidates {
		pool[i] = c.upstream
	}
	return pool
}
