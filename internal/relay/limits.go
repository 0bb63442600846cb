package relay

import (
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// violation is why a frame may not pass.
type violation struct {
	code   int
	reason string
	limit  string // of the policy, or of what holds for all; "" for the protocol's
}

// The close codes of those who break a rule (RFC 6455, section 7.4.1).
const (
	codeGoingAway       = 1001
	codeProtocolError   = 1002
	codePolicyViolation = 1008
	codeMessageTooBig   = 1009
)

var (
	tooManyControls = &violation{codePolicyViolation, "too many pings and pongs", LimitControlFrames}
	tooManyParts    = &violation{codePolicyViolation, "too many small fragments", LimitFragments}
	tooBig          = &violation{codeMessageTooBig, "message too big", LimitMessageSize}
	tooManyMessages = &violation{codePolicyViolation, "too many messages", LimitMessages}
	endlessFrame    = &violation{code: codeProtocolError, reason: wsframe.LengthOverflow.Reason}
	tooManyBytes    = &violation{codePolicyViolation, "too many bytes", LimitBytes}
)

// guard is what a connection needs for the limits of a policy.
type guard struct {
	messages, bytes bucket // of the client
	pulse           int64  // when the latest ping was sent; at first, when one would have been
	rtt, smoothed   uint32 // in microseconds
}

// judgeControl judges a control frame, at the start of p.
func (r *Relay) judgeControl(from *side, h *wsframe.Header, p []byte, now int64) (fate, *violation) {
	if h.Opcode == wsframe.Close {
		return fatePass, nil
	}
	if r.ending == nil && !r.replaces(from) && controlRate.wait(from.controls, 1, now, 0) > 0 {
		return fateBreach, tooManyControls
	}
	if from.party == Client {
		return r.judgePong(h, p), nil
	}
	return fatePass, nil
}

// judgeData judges a frame of a message. Where it has to wait, wait says for how long.
func (r *Relay) judgeData(from *side, h *wsframe.Header, now int64) (f fate, wait int64, v *violation) {
	var before uint64 // of the message
	if h.Opcode == wsframe.Continuation {
		before = from.scan.MessageSize()
		if h.Length < wsframe.SmallFragment && from.scan.SmallFragments() >= maxSmallFragments {
			return fateBreach, 0, tooManyParts
		}
	}
	if most := r.policy.MessageSize; most > 0 && !r.assembles() && (before > most || h.Length > most-before) {
		return fateBreach, 0, tooBig
	}
	if from.party == Client && r.guard != nil {
		return r.judgeRates(h, now)
	}
	return fatePass, 0, nil
}

// assembles reports whether messages are brought together in place of the upstream: how
// large they are is found out there, once they are inflated, and they may grow by what is
// done with them.
func (r *Relay) assembles() bool { return r.strict != nil && r.strict.assembled }

// replaces reports whether a side is no upstream but what brings messages together: its
// pongs answer pings that were judged when they came.
func (r *Relay) replaces(s *side) bool { return s.party == Upstream && r.assembles() }

// judgeRates judges a frame of a message of the client.
func (r *Relay) judgeRates(h *wsframe.Header, now int64) (f fate, wait int64, v *violation) {
	messages, bytes := &r.policy.Messages, &r.policy.Bytes
	if messages.Count > 0 && h.Opcode != wsframe.Continuation {
		if wait := messages.wait(r.guard.messages, 1, now, r.lateness()); wait > 0 {
			if messages.Close {
				return fateBreach, 0, tooManyMessages
			}
			r.holdBack(LimitMessages)
			return fateWait, wait, nil
		}
	}
	if bytes.Count == 0 || !bytes.Close && h.Length > bytes.Burst {
		return fatePass, 0, nil // or is metered
	}
	if bytes.Close && h.Length > bytes.Burst {
		return fateBreach, 0, tooManyBytes
	}
	if wait := bytes.wait(r.guard.bytes, h.Length, now, r.lateness()); wait > 0 {
		if bytes.Close {
			return fateBreach, 0, tooManyBytes
		}
		r.holdBack(LimitBytes)
		return fateWait, wait, nil
	}
	return fatePass, 0, nil
}

// meters reports whether a frame is larger than a burst, so that its payload passes
// piece by piece.
func (r *Relay) meters(from *side, h *wsframe.Header) bool {
	if from.party != Client || r.guard == nil || h.Control() {
		return false
	}
	rate := &r.policy.Bytes
	return rate.Count > 0 && !rate.Close && h.Length > rate.Burst
}

// The least that a piece of a frame that is metered has, if burst and frame allow it:
// else every few bytes would be written by themselves.
const leastMetered = 1 << 10

// meter returns how much of a payload may pass now, of which so much is left, or how long
// even the least has to wait.
func (r *Relay) meter(payload []byte, left uint64, now int64) (allowed int, wait int64) {
	rate := &r.policy.Bytes
	least := min(left, rate.Burst, leastMetered)
	if wait := rate.wait(r.guard.bytes, least, now, r.lateness()); wait > 0 {
		r.holdBack(LimitBytes)
		return 0, wait
	}
	return int(min(uint64(len(payload)), max(least, rate.room(r.guard.bytes, now, r.lateness())))), 0
}

// lateness is by how much a client that is held back may be looked at too late: its
// deadline is rounded up to a tick of the loop's wheel, and the loop has others to serve.
const lateness = 2 << tickBits

func (r *Relay) lateness() int64 {
	if !r.client.slowed {
		return 0
	}
	return lateness
}

// eases reports whether a client that was held back has been within its rates for so long
// that nothing of it is left.
func (r *Relay) eases(now int64) bool { return max(r.guard.messages, r.guard.bytes) < now-lateness }

// holdBack notes that the client has to wait. That counts once, until the client has been
// well within its rates.
func (r *Relay) holdBack(limit string) {
	if slowed := r.policy.Slowed; slowed != nil && !r.client.slowed {
		slowed(limit)
	}
	r.client.slowed = true
}

// breach ends the connection because a side has broken a rule. The side is told why. The
// other side gets 1001, unless it has got the beginning of a frame that may not go on.
func (r *Relay) breach(from, to *side, v *violation) {
	c := Close{Code: v.code, Reason: from.party.String() + ": " + v.reason}
	from.barred = true
	if r.decide(Gateway, c) || r.overrule(Gateway, c) {
		r.ending.limit = v.limit
	}
	r.arm(r.closeTimeout)
	r.requestClose(from, c)
	if to.mid && !to.writing {
		r.abandon(to)
		return
	}
	r.requestClose(to, Close{Code: codeGoingAway, Reason: c.Reason})
}

// Reject ends the connection because of what a side has sent, which the caller has seen
// and the relay cannot. Nothing more of that side is passed on. Each side gets its close
// frame, unless it has got the beginning of a frame that may not go on. The cause is what
// the outcome says, and so is the limit; "" for none. Reject does not block, and may be
// called by what the relay reads from and writes to.
func (r *Relay) Reject(offender Party, cause, client, upstream Close, limit string) {
	defer r.containEnd()
	r.mu.Lock()
	defer r.mu.Unlock()
	from, to := &r.client, &r.upstream
	told, other := client, upstream
	if offender == Upstream {
		from, to = to, from
		told, other = other, told
	}
	from.barred = true
	if !r.decide(Gateway, cause) && !r.overrule(Gateway, cause) && !r.overtake(from, cause) {
		return
	}
	r.ending.limit = limit
	r.arm(r.closeTimeout)
	r.requestClose(from, told)
	if to.mid && !to.writing {
		r.abandon(to)
		return
	}
	r.requestClose(to, other)
}
