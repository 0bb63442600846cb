package wsgateway

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
)

// tries is the progress among the upstreams of a handshake, or of a request that asks for
// a stream.
type tries struct {
	settings *reverseproxy.LoadBalancing
	start    time.Time
	use      balance.Use // of the upstream

	count      int      // attempts in all
	asks       int      // for more room, of the fleet
	spent      []string // addresses of which the fleet had no more
	tried      []string // addresses of this round
	failed     bool     // an attempt has failed since upstreams were asked for
	drops      int      // attempts that an upstream dropped
	suspect    string   // the upstream that dropped it, until another answers; "" for none
	last       error    // why the last attempt failed
	lastStatus int      // the status of the upstream's refusal, where that is why
	described  described

	among     reverseproxy.UpstreamPool // the upstreams, when last asked for
	pool      []string                  // their addresses, where they are waited for
	place     *balance.Place            // in the line, while waiting
	waitUntil time.Time
	joined    time.Time     // the line, when last
	waited    time.Duration // in line, in all
}

func newTries(settings *reverseproxy.LoadBalancing) *tries {
	return &tries{settings: settings, start: time.Now(), described: described{duration: -1}}
}

func (t *tries) wasTried(address string) bool { return slices.Contains(t.tried, address) }

// skip is wasTried, or nil where nothing was tried.
func (t *tries) skip() func(address string) bool {
	if len(t.tried) == 0 {
		return nil
	}
	return t.wasTried
}

// mayGrow reports whether the fleet may have more room at the address.
func (t *tries) mayGrow(address string) bool { return !slices.Contains(t.spent, address) }

// drop notes that an upstream dropped the handshake, and reports whether an upstream
// did so before: then the handshake is the likely cause.
func (t *tries) drop(address string) (again bool) {
	t.drops++
	t.suspect = address
	return t.drops > 1
}

// dropper returns, once, the upstream that dropped a handshake that another upstream
// has answered now; "" where there is none.
func (t *tries) dropper(answeredBy string) string {
	if t.suspect == answeredBy {
		return "" // the same upstream answered
	}
	address := t.suspect
	t.suspect = ""
	return address
}

// more reports whether another attempt is allowed by lb_retries and
// lb_try_duration.
func (t *tries) more() bool {
	if t.settings.Retries > 0 && t.count > t.settings.Retries {
		return false
	}
	limit := time.Duration(t.settings.TryDuration)
	return limit <= 0 || time.Since(t.start) < limit
}

// anotherRound waits for lb_try_interval and lets every upstream be tried
// again, while lb_try_duration lasts, or as often as lb_retries says. It is true
// at once when the node drains, of which the caller has to know.
func (t *tries) anotherRound(ctx context.Context, drains <-chan struct{}) bool {
	if t.settings.TryDuration <= 0 && t.settings.Retries <= 0 || !t.more() {
		return false
	}
	t.count++ // a look for an upstream counts as a try, as in reverse_proxy
	wait := time.Duration(t.settings.TryInterval)
	if t.settings.TryDuration > 0 {
		wait = min(wait, time.Duration(t.settings.TryDuration)-time.Since(t.start))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-drains:
		return true
	case <-ctx.Done():
		return false
	}
	t.tried = nil
	return t.more()
}

// anotherRound is that of the tries, or true when the node drains.
func (h *Handler) anotherRound(ctx context.Context, t *tries) bool {
	drains, forget := h.live.NodeDrains()
	defer forget()
	return t.anotherRound(ctx, drains)
}

// retriesAnswer reports whether lb_retry_match asks to try another upstream after
// this answer. Only expressions on the answer count, as in reverse_proxy.
func (h *Handler) retriesAnswer(r *http.Request, res *http.Response) bool {
	repl := replacerOf(r)
	defer repl.DeleteByPrefix("http.reverse_proxy.status_") // it may not be the last answer
	for _, set := range h.Proxy.LoadBalancing.RetryMatch {
		if !readsAnswer(set) {
			continue
		}
		repl.DeleteByPrefix("http.reverse_proxy.header.")
		for field, value := range res.Header {
			repl.Set("http.reverse_proxy.header."+field, strings.Join(value, ","))
		}
		repl.Set("http.reverse_proxy.status_code", res.StatusCode)
		repl.Set("http.reverse_proxy.status_text", res.Status)
		if match, err := set.MatchWithError(r); err == nil && match {
			return true
		}
	}
	return false
}

func readsAnswer(set caddyhttp.MatcherSet) bool {
	return slices.ContainsFunc(set, func(m any) bool {
		expr, ok := m.(*caddyhttp.MatchExpression)
		return ok && slices.ContainsFunc(expr.Placeholders(), func(name string) bool {
			return name == "" ||
				strings.HasPrefix(name, "http.reverse_proxy.status_") ||
				strings.HasPrefix(name, "http.reverse_proxy.header.")
		})
	})
}

// lineTick is how often the first handshake in line looks for an upstream that has
// recovered, of which no event tells.
const lineTick = 250 * time.Millisecond

// waitInLine waits for the handshake's turn to ask for an upstream again, or until the
// node drains. It is false when there is nothing to wait for any more.
func (h *Handler) waitInLine(ctx context.Context, t *tries) bool {
	if h.Queue == nil {
		return false
	}
	if t.place == nil {
		if t.place = h.balancer.Line(t.wanted()); t.place == nil {
			t.last = errLineFull
			return false
		}
		t.joined = time.Now()
		t.waitUntil = t.joined.Add(orDefault(h.Queue.Timeout, defaultQueueTimeout))
	}
	t.place.SetAddresses(t.wanted())
	left := time.Until(t.waitUntil)
	if left <= 0 {
		t.last = errWaitedTooLong
		return false
	}
	timer := time.NewTimer(min(left, lineTick))
	defer timer.Stop()
	drains, forget := h.live.NodeDrains()
	defer forget()
	t.spent = nil // there may be more by then
	select {
	case <-t.place.Turn():
		return true
	case <-timer.C:
		return true
	case <-drains:
		return true
	case <-ctx.Done():
		return false
	}
}

// wanted are the addresses of the upstreams that are worth waiting for.
func (t *tries) wanted() []string {
	return slices.DeleteFunc(slices.Clone(t.pool), t.wasTried)
}

func (t *tries) leaveLine() {
	if t.place != nil {
		t.place.Leave()
		t.place = nil
		t.waited += time.Since(t.joined)
	}
}

// leaveLine is for the end of the tries.
func (h *Handler) leaveLine(t *tries) {
	t.leaveLine()
	if !t.joined.IsZero() {
		queueSeconds.WithLabelValues(h.name).Observe(t.waited.Seconds())
	}
}

var (
	errLineFull      = errors.New("every upstream is full, and so is the line")
	errWaitedTooLong = errors.New("every upstream stayed full for as long as one may wait")
)

// exhausted is the answer when no upstream is left to try.
func (t *tries) exhausted(w http.ResponseWriter, r *http.Request, why balance.Refusal) *refusal {
	switch {
	case r.Context().Err() != nil:
		return clientLeft()
	case t.lastStatus != 0:
		return refusedUpstream(t.lastStatus, t.last.Error())
	case t.last != nil:
		return unavailable(w, "no upstream is left: "+t.last.Error())
	case why == balance.Full:
		return unavailable(w, "every upstream is full")
	}
	return unavailable(w, "no upstream is available")
}
