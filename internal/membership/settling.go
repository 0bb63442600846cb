package membership

import (
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
)

// settling is the time in which the engine may have forgotten what other nodes have: it
// has the share of this node again, and not for certain theirs. The others have then, for
// all that the node knows, no less than it heard of them before.
type settling struct {
	missing map[string]struct{} // nodes that were in the last view
	until   time.Time           // when those of them that live have told the engine
}

func (s *settling) lasts() bool { return len(s.missing) > 0 }

// unsettle begins that time, once the engine has the share of the node again. A node that
// has not seen others has nobody to wait for.
func (c *courier) unsettle() {
	if c.settling.missing == nil {
		c.settling.missing = make(map[string]struct{})
	}
	c.settling.until = time.Now().Add(c.config.Settings.Heartbeat + retryLater)
	for _, n := range c.lastView() {
		if n.ID != c.config.ID {
			c.settling.missing[n.ID] = struct{}{}
		}
	}
	if c.settling.lasts() {
		c.parts.remember()
	}
}

func (c *courier) lastView() []fleet.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes
}

// resettle ends that time where all nodes are back, these among them, or when those that
// are not are taken for gone.
func (c *courier) resettle(back []fleet.Node) {
	if !c.settling.lasts() {
		return
	}
	for _, n := range back {
		delete(c.settling.missing, n.ID)
	}
	if !time.Now().Before(c.settling.until) {
		clear(c.settling.missing)
	}
	if !c.settling.lasts() {
		c.parts.forget()
	}
}

// remember has the others have no less than was last heard of them, until forget is
// called.
func (ps *parts) remember() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.wary = true
	for _, p := range ps.slots {
		p.least = max(p.least, p.others)
	}
}

func (ps *parts) forget() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.wary = false
	for _, p := range ps.slots {
		p.least = 0
	}
}

// restrain lowers what is asked for a slot of which the engine may have too much to give.
// Nothing is kept to spare, which the others may have taken during an outage.
func restrain(asked *fleet.Slice, least int) {
	asked.Need = min(asked.Need, max(0, asked.Cap-least-asked.Live))
	asked.Spare = 0
}
