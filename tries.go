package wsgateway

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// tries is how far a handshake has come among the upstreams.
type tries struct {
	settings *reverseproxy.LoadBalancing
	start    time.Time

	count      int      // attempts in all
	tried      []string // addresses of this round
	last       error    // why the last attempt failed
	lastStatus int      // what the upstream answered, where that is why
}

func newTries(settings *reverseproxy.LoadBalancing) *tries {
	return &tries{settings: settings, start: time.Now()}
}

func (t *tries) wasTried(address string) bool { return slices.Contains(t.tried, address) }

// more tells whether another attempt is allowed by lb_retries and
// lb_try_duration.
func (t *tries) more() bool {
	if t.settings.Retries > 0 && t.count > t.settings.Retries {
		return false
	}
	limit := time.Duration(t.settings.TryDuration)
	return limit <= 0 || time.Since(t.start) < limit
}

// anotherRound waits for lb_try_interval and lets every upstream be tried
// again, while lb_try_duration lasts.
func (t *tries) anotherRound(ctx context.Context) bool {
	left := time.Duration(t.settings.TryDuration) - time.Since(t.start)
	if left <= 0 || !t.more() {
		return false
	}
	timer := time.NewTimer(min(time.Duration(t.settings.TryInterval), left))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	t.tried = nil
	return t.more()
}

// exhausted is the answer when no upstream is left to try.
func (t *tries) exhausted(w http.ResponseWriter, r *http.Request) *refusal {
	switch {
	case r.Context().Err() != nil:
		return &refusal{499, resultCanceled, "the client left"}
	case t.lastStatus != 0:
		return &refusal{t.lastStatus, resultRefused, t.last.Error()}
	case t.last != nil:
		return unavailable(w, "no upstream is left: "+t.last.Error())
	}
	return unavailable(w, "no upstream is available")
}

func unavailable(w http.ResponseWriter, reason string) *refusal {
	w.Header().Set("Retry-After", retryAfter)
	return &refusal{http.StatusServiceUnavailable, resultUnavailable, reason}
}
