package wsgateway

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/dial"
	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

const (
	defaultProbeInterval = 30 * time.Second
	defaultProbeTimeout  = 5 * time.Second
)

// probes knows which upstreams fail a WebSocket handshake of the gateway's own. A nil
// *probes knows of none.
type probes struct {
	gateway           string // the name of the gateway that probes
	logger            *zap.Logger
	uri               string
	headers           http.Header
	interval, timeout time.Duration
	passes, fails     int

	mu     sync.Mutex // guards what follows
	states map[string]*probed
}

// probed is the outcome of the latest probes of an address.
type probed struct {
	isDown       bool
	passed, lost int // in a row
	at           time.Time
}

func newProbes(gateway string, logger *zap.Logger, config *WebSocketHealth, checks *reverseproxy.HealthChecks) *probes {
	if config == nil {
		return nil
	}
	p := &probes{gateway: gateway, logger: logger, uri: config.URI, interval: defaultProbeInterval, timeout: defaultProbeTimeout,
		passes: 1, fails: 1, states: make(map[string]*probed)}
	if p.uri == "" {
		p.uri = "/"
	}
	if checks != nil && checks.Active != nil {
		active := checks.Active
		p.headers = active.Headers
		p.interval = orDefault(active.Interval, p.interval)
		p.timeout = orDefault(active.Timeout, p.timeout)
		p.passes, p.fails = max(active.Passes, 1), max(active.Fails, 1)
	}
	return p
}

func (p *probes) down(address string) bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	state := p.states[address]
	return state != nil && state.isDown
}

// record notes the result of a probe and reports whether it changed the state of the
// upstream.
func (p *probes) record(address string, ok bool) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	state := p.states[address]
	if state == nil {
		state = new(probed)
		p.states[address] = state
	}
	state.at = time.Now()
	if ok {
		state.passed, state.lost = state.passed+1, 0
	} else {
		state.passed, state.lost = 0, state.lost+1
	}
	switch {
	case state.isDown && state.passed >= p.passes:
		state.isDown = false
		return true
	case !state.isDown && state.lost >= p.fails:
		state.isDown = true
		return true
	}
	return false
}

// shaker makes a handshake with an upstream.
type shaker func(r *http.Request, info *reverseproxy.DialInfo, ready func() error) (*handshake.Answer, error)

// run probes the members at every interval, until the configuration ends.
func (p *probes) run(ctx context.Context, shake shaker, members func() []balance.Member) {
	ticker := time.NewTicker(p.interval)
	defer ticker.Stop()
	for {
		contained(p.logger, p.gateway, func() { p.probeAll(ctx, shake, members()) })
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// forgetProbed is how long the state of an upstream is kept after its last probe, or
// ten intervals if that is longer: a name may lead to other addresses at every lookup.
const forgetProbed = 10 * time.Minute

// forget drops the state of upstreams that were not probed for long.
func (p *probes) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.states, func(_ string, state *probed) bool {
		return time.Since(state.at) > max(forgetProbed, 10*p.interval)
	})
}

// probeAll probes the members, all at once.
func (p *probes) probeAll(ctx context.Context, shake shaker, members []balance.Member) {
	var all sync.WaitGroup
	for _, m := range members {
		if hasPlaceholder(m.Address) {
			continue
		}
		all.Go(func() {
			defer contain(p.logger, zap.String("gateway", p.gateway), zap.String("upstream", m.Address))
			err := p.probe(ctx, shake, m.Address)
			if p.record(m.Address, err == nil) && ctx.Err() == nil {
				p.logger.Info("upstream's WebSocket health changed", zap.String("gateway", p.gateway),
					zap.String("upstream", m.Address), zap.Bool("healthy", err == nil), zap.Error(err))
			}
		})
	}
	all.Wait()
	p.forget()
}

// probe makes one handshake and closes the connection.
func (p *probes) probe(ctx context.Context, shake shaker, address string) (err error) {
	defer containInto(&err, p.logger, zap.String("gateway", p.gateway), zap.String("upstream", address))
	info, err := dial.Info(nil, address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer())
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, make(map[string]any))
	r, err := p.request(ctx, &info, address)
	if err != nil {
		return err
	}
	a, err := shake(r, &info, nil)
	if err != nil {
		return err
	}
	if a.Conn == nil {
		_ = a.Res.Body.Close()
		return errRefusedProbe
	}
	_ = a.Conn.SetWriteDeadline(time.Now().Add(p.timeout))
	_, _ = a.Conn.Write(farewell())
	return a.Conn.Close()
}

// request is the handshake of a probe, without the fields that the dialer adds.
func (p *probes) request(ctx context.Context, info *reverseproxy.DialInfo, address string) (*http.Request, error) {
	uri, err := url.ParseRequestURI(p.uri)
	if err != nil {
		return nil, err
	}
	r := (&http.Request{Method: http.MethodGet, URL: uri, Host: info.Address, Header: make(http.Header)}).WithContext(ctx)
	if caddy.IsUnixNetwork(info.Network) || caddy.IsFdNetwork(info.Network) {
		r.Host = "localhost" // a path is no host, and a Unix socket leads to this machine
	}
	repl := caddy.NewReplacer()
	repl.Set("http.reverse_proxy.active.target_upstream", address)
	for name, values := range p.headers {
		name = http.CanonicalHeaderKey(repl.ReplaceAll(name, ""))
		if name == "Host" {
			for _, value := range values[:min(len(values), 1)] {
				r.Host = cmp.Or(repl.ReplaceAll(value, ""), r.Host)
			}
			continue
		}
		for _, value := range values {
			r.Header.Add(name, repl.ReplaceKnown(value, ""))
		}
	}
	if _, ok := r.Header["User-Agent"]; !ok {
		r.Header.Set("User-Agent", "caddy-ws-gateway health check")
	}
	return r, nil
}

// farewell is a close frame with 1000 that the upstream gets at the end of a
// probe.
func farewell() []byte { return wsframe.AppendClose(nil, 1000, "health check", true) }

var errRefusedProbe = errors.New("the handshake was refused")
