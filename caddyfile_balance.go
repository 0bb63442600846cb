package wsgateway

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// unmarshalQueue parses:
//
//	queue <n> [<timeout>]
func (h *Handler) unmarshalQueue(d *caddyfile.Dispenser) error {
	args, err := lineArgs(d, "queue <n> [<timeout>]", 1, 2)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 1 {
		return d.Errf("queue must be a whole number of at least 1, not %q: write queue <n> [<timeout>], or leave it out for no queue%s",
			args[0], separated(args[0]))
	}
	h.Queue = &Queue{Size: n}
	if len(args) > 1 {
		h.Queue.Timeout, err = positiveDuration(d, "queue's timeout", args[1])
	}
	return err
}

// unmarshalSlowStart parses:
//
//	slow_start <duration>
func (h *Handler) unmarshalSlowStart(d *caddyfile.Dispenser) (err error) {
	h.SlowStart, err = durationArg(d, "slow_start", 1)
	return err
}

// unmarshalRebalance parses:
//
//	rebalance <percent>/<duration>
func (h *Handler) unmarshalRebalance(d *caddyfile.Dispenser) error {
	args, err := lineArgs(d, "rebalance <percent>/<duration>", 1, 1)
	if err != nil {
		return err
	}
	share, per, ok := strings.Cut(args[0], "/")
	if !ok {
		return d.Errf("rebalance %q must be a percentage and a time, such as 10%%/1m", args[0])
	}
	if !strings.HasSuffix(share, "%") {
		if _, err := strconv.ParseFloat(share, 64); err == nil {
			return d.Errf("rebalance %q does not say of what: write %s%%/%s for so many per cent of the connections in that time", args[0], share, per)
		}
	}
	percent, err := percentage(d, "rebalance", share)
	if err != nil {
		return err
	}
	h.Rebalance = &Rebalance{Percent: percent}
	if h.Rebalance.Per, err = positiveDuration(d, "rebalance's time", per); err != nil {
		return err
	}
	if err := h.Rebalance.validate(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// unmarshalMaxAge parses:
//
//	max_age <duration> [<jitter percent>]
func (h *Handler) unmarshalMaxAge(d *caddyfile.Dispenser) error {
	args, err := lineArgs(d, "max_age <duration> [<jitter percent>]", 1, 2)
	if err != nil {
		return err
	}
	h.MaxAge = new(MaxAge)
	if h.MaxAge.Duration, err = positiveDuration(d, "max_age", args[0]); err != nil {
		return err
	}
	if len(args) > 1 {
		jitter, err := percentage(d, "max_age's jitter", args[1])
		if err != nil {
			return err
		}
		h.MaxAge.JitterPercent = &jitter
	}
	if err := h.MaxAge.validate(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// unmarshalEarlyCloseCount parses:
//
//	early_close_count <n>
func (h *Handler) unmarshalEarlyCloseCount(d *caddyfile.Dispenser) error {
	args, err := lineArgs(d, "early_close_count <n>, beside early_close_window <duration>", 1, 1)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 1 {
		return d.Errf("early_close_count must be a whole number of at least 1, not %q%s", args[0], separated(args[0]))
	}
	h.EarlyCloseCount = n
	return nil
}

// unmarshalEarlyCloseWindow parses:
//
//	early_close_window <duration>
func (h *Handler) unmarshalEarlyCloseWindow(d *caddyfile.Dispenser) (err error) {
	h.EarlyCloseWindow, err = durationArg(d, "early_close_window", 1)
	return err
}

// unmarshalPanicThreshold parses:
//
//	panic_threshold <percent>
func (h *Handler) unmarshalPanicThreshold(d *caddyfile.Dispenser) error {
	args, err := lineArgs(d, "panic_threshold <percent>", 1, 1)
	if err != nil {
		return err
	}
	percent, err := strconv.Atoi(strings.TrimSuffix(args[0], "%"))
	if err != nil || percent < 1 || percent > 100 {
		return d.Errf("panic_threshold must be a whole percentage from 1 to 100, such as 50%%, not %q", args[0])
	}
	h.PanicThreshold = percent
	return nil
}

// unmarshalHealthWebSocket parses:
//
//	health_websocket [<uri>]
func (h *Handler) unmarshalHealthWebSocket(d *caddyfile.Dispenser) error {
	args, err := lineArgs(d, "health_websocket [<uri>]", 0, 1)
	if err != nil {
		return err
	}
	h.WebSocketHealth = new(WebSocketHealth)
	if len(args) > 0 {
		h.WebSocketHealth.URI = args[0]
	}
	if err := h.WebSocketHealth.validate(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// unmarshalDrainUnhealthy parses:
//
//	drain_unhealthy
func (h *Handler) unmarshalDrainUnhealthy(d *caddyfile.Dispenser) error {
	_, err := lineArgs(d, "drain_unhealthy", 0, 0)
	h.DrainUnhealthy = err == nil
	return err
}

// checkTogether refuses words that make no sense without, or beside, each other.
func (h *Handler) checkTogether(d *caddyfile.Dispenser) error {
	if h.Queue != nil && h.MaxConns == 0 {
		return d.Err("queue has nothing to wait for without max_conns: set it, or remove queue")
	}
	if err := errors.Join(h.validateStreams(), h.validateEarlyClose(), h.validateDrainUnhealthy(len(h.Proxy.DynamicUpstreamsRaw) > 0)); err != nil {
		return d.WrapErr(err)
	}
	if lb := h.Proxy.LoadBalancing; lb != nil && lb.SelectionPolicyRaw != nil {
		var policy struct {
			Weights []int `json:"weights"`
		}
		if json.Unmarshal(lb.SelectionPolicyRaw, &policy) == nil && policy.Weights != nil {
			if err := checkWeights(floats(policy.Weights), h.Proxy); err != nil {
				return d.WrapErr(err)
			}
		}
	}
	return nil
}

func positiveDuration(d *caddyfile.Dispenser, what, arg string) (caddy.Duration, error) {
	duration, err := parseDuration(d, what, arg)
	if err != nil {
		return 0, err
	}
	if duration <= 0 {
		return 0, d.Errf("%s must not be zero or negative, got %s", what, arg)
	}
	return caddy.Duration(duration), nil
}

// percentage parses a number that a percent sign may follow.
func percentage(d *caddyfile.Dispenser, what, arg string) (float64, error) {
	percent, err := strconv.ParseFloat(strings.TrimSuffix(arg, "%"), 64)
	if err != nil {
		return 0, d.Errf("%s must be a percentage such as 10%%, not %q", what, arg)
	}
	return percent, nil
}
