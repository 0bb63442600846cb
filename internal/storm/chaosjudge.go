package main

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// judge takes down how a connection ended, and whether it may.
func (c *chaos) judge(a *caller) {
	err := a.verdict(c)
	c.tally.note(a, err)
	if err != nil && c.gateway.isWell() == nil {
		late := errors.Is(err, errLate)
		c.tally.wrong(finding{Connection: a.connection, Late: late, Text: fmt.Sprintf("%s, upstream %s, after %s: sent %d, echoed %d, pushed %d: %v",
			&a.life, a.instance, time.Since(a.began).Round(time.Millisecond), a.sent.Load(), a.echoed.Load(), a.pushed, err)})
	}
}

func (a *caller) verdict(c *chaos) error {
	switch {
	case errors.Is(a.err, errForeign):
		return a.err
	case errors.Is(a.err, errGarbage):
		if a.Upstream == garbles {
			return nil // which went through, as through a tunnel
		}
		return a.err
	case a.slow.Load():
		return errSlow
	case a.closed == nil:
		return a.unsaid(c)
	}
	code, reason := int(a.closed.code()), a.closed.reason()
	switch {
	case strings.HasPrefix(reason, "bye "):
		if a.Upstream != closes || code < 4000 {
			return fmt.Errorf("%w: closed with %d %q", errForeign, code, reason)
		}
		return a.checkCounts("bye %d %d", reason)
	case code == 1000:
		if want := fmt.Sprintf("got %d", a.sent.Load()); reason != want || a.echoed.Load() != a.sent.Load() {
			return fmt.Errorf("closed with %q, want %q", reason, want)
		}
		return nil
	case reason == "":
		return fmt.Errorf("closed with %d without a reason", code)
	case !a.mayBe(code, c):
		return fmt.Errorf("closed with %d %q", code, reason)
	case code == 1012 && (a.Upstream == halves || a.Upstream == truncates) && !a.last && !a.cut && !c.struck(a):
		return fmt.Errorf("closed with %d %q, but the upstream's last message is missing", code, reason)
	}
	return nil
}

// struck reports whether the upstream was killed or taken away meanwhile.
func (c *chaos) struck(a *caller) bool {
	return c.weather.killed(a.instance, a.began) || c.weather.removed(a.instance, a.began)
}

// unsaid judges an end without a close frame.
func (a *caller) unsaid(c *chaos) error {
	switch {
	case a.cut, a.stalled:
		return nil
	case a.h.mid && (!a.Upstream.harmless() || c.weather.killed(a.instance, a.began)):
		return nil // in the middle of a frame there is no saying
	case a.closing && (!a.Upstream.harmless() || c.struck(a)):
		return nil // the client has begun the end, and the upstream does not answer
	}
	err := fmt.Errorf("ended without a close frame, in a frame: %t: %w", a.h.mid, a.err)
	if !a.closedAt.IsZero() && a.ended.Sub(a.closedAt) > long {
		return fmt.Errorf("%w: %w", errLate, err) // the upstream has not answered in time
	}
	return err
}

// mayBe reports whether there is a cause for a close code of the gateway.
func (a *caller) mayBe(code int, c *chaos) bool {
	switch code {
	case 1001:
		return a.Upstream == garbles || a.Route == tightRoute
	case 1002, 1007:
		return a.Upstream == garbles || a.Client == garbles && a.cut
	case 1008:
		return a.Route == tightRoute
	case 1009:
		return a.Route == tightRoute || a.Client == garbles && a.cut // some garbage begins something too large
	case 1011:
		return a.cut // which the upstream was told, and sends back
	case 1012:
		return !a.Upstream.harmless() || a.cut || a.stalled || c.struck(a)
	case 1013:
		return a.Client == stalls || a.Client == pauses
	}
	return false
}

// handshakePatience is how long a handshake may take, for which the gateway has five
// seconds.
const handshakePatience = 15 * time.Second

// noteRefused takes down a handshake that failed, for which there must be a reason.
func (c *chaos) noteRefused(l *life, began time.Time, status int, err error) {
	gone, reloaded := c.weather.disturbed(began)
	switch {
	case c.gateway.isWell() != nil:
	case status == 0 && reloaded && time.Since(began) < handshakePatience/2:
		c.tally.count("handshakes", "dropped during a reload")
	case status == 0 && reloaded && l.Carrier == "h3": // where nobody tells the client
		c.tally.count("handshakes", "lost during a reload")
	case (status == 502 || status == 503 || status == 504) && (gone || reloaded):
		c.tally.count("handshakes", fmt.Sprintf("refused with %d", status))
	default:
		c.tally.wrong(finding{Text: fmt.Sprintf("%s: the handshake after %s: status %d, %v", l, time.Since(began), status, err)})
	}
}
