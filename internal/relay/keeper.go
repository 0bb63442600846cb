package relay

import (
	"sync"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// sharedKeeper is for the relays of this process that goroutines serve.
var sharedKeeper = newKeeper((*Relay).timeDue)

// keeper has relays wait for moments that are on no loop, each for one at a time, with
// one timer for all. The timer is set only while a relay waits.
type keeper struct {
	// Called when a relay's moment has come; returns the next one, or never. It must
	// not block, since the others wait for it.
	due func(*Relay) (next int64)

	mu      sync.Mutex // guards the rest; not held while due is called
	relays  []*Relay   // by entry
	vacant  []int32
	wheel   wheel
	clock   *time.Timer // calls ring at ringAt; nil until a relay waits
	ringAt  int64       // or never
	ringing bool
}

func newKeeper(due func(*Relay) (next int64)) *keeper {
	return &keeper{due: due, wheel: newWheel(monotonic(time.Now())), ringAt: never}
}

// enter gives a relay an entry, which waits for nothing yet.
func (k *keeper) enter(r *Relay) (entry int32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.vacant) == 0 {
		k.relays = append(k.relays, r)
		return int32(len(k.relays) - 1)
	}
	last := len(k.vacant) - 1
	entry = k.vacant[last]
	k.vacant = k.vacant[:last]
	k.relays[entry] = r
	return entry
}

// set makes an entry wait for a moment, unless the entry waits for an earlier one
// anyway: what the relay really waits for is seen when that has come. Nothing is set
// where at is never.
func (k *keeper) set(entry int32, at int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wait(entry, at)
}

func (k *keeper) wait(entry int32, at int64) {
	if at != never {
		k.wheel.set(entry, at)
		k.wind()
	}
}

// leave takes an entry back, once. If the entry is due right now, due may be called yet.
func (k *keeper) leave(entry int32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wheel.remove(entry)
	k.relays[entry] = nil
	k.vacant = append(k.vacant, entry)
	k.wind()
}

// wind sets the clock if it would ring too late, and stops the clock if there is
// nothing to wait for. It is called with mu held.
func (k *keeper) wind() {
	next, ok := k.wheel.next()
	switch {
	case k.ringing: // what ends with winding the clock
		return
	case !ok && k.ringAt != never:
		k.ringAt = never
		k.clock.Stop()
		return
	case !ok || k.ringAt <= next:
		return
	}
	k.ringAt = next
	wait := time.Duration(next - monotonic(time.Now()))
	if k.clock == nil {
		k.clock = time.AfterFunc(wait, k.ring)
		return
	}
	k.clock.Reset(wait)
}

// ring is called by the clock, and calls due for the relays whose moments have come.
func (k *keeper) ring() {
	defer panics.Contain()
	if !k.beginRinging() {
		return
	}
	defer k.endRinging()
	now := monotonic(time.Now())
	for entry, r := k.takeExpired(now); r != nil; entry, r = k.takeExpired(now) {
		k.setAgain(entry, r, k.call(r))
	}
}

// beginRinging fails if the clock was stopped or set anew when it had begun to ring.
func (k *keeper) beginRinging() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ringing || k.ringAt == never {
		return false
	}
	k.ringing, k.ringAt = true, never
	return true
}

func (k *keeper) endRinging() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ringing = false
	k.wind()
}

// takeExpired returns a relay whose moment has come, or nil.
func (k *keeper) takeExpired(now int64) (entry int32, r *Relay) {
	k.mu.Lock()
	defer k.mu.Unlock()
	entry, ok := k.wheel.takeExpired(now)
	if !ok {
		return 0, nil
	}
	return entry, k.relays[entry]
}

// setAgain is set for a relay that may have left meanwhile.
func (k *keeper) setAgain(entry int32, r *Relay, at int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.relays[entry] == r {
		k.wait(entry, at)
	}
}

// call contains a panic of due, which ends the one connection. That may take a while, as
// in collapse, and so it is done where no other relay waits for it.
func (k *keeper) call(r *Relay) (next int64) {
	next = never // after a panic
	defer func() {
		if value := recover(); value != nil {
			p := panics.Caught(value)
			go r.guarded(func() { r.collapse(p) })
		}
	}()
	return k.due(r)
}
