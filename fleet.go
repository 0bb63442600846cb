package wsgateway

import (
	"bytes"
	"context"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/internal/bulletin"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/membership"
)

// The namespace of engines, and the member of their configuration that names one.
const (
	fleetNamespace = "ws_gateway.fleet"
	fleetKey       = "engine"
)

// leavePeriod is how long it may take to tell an engine that the node leaves.
const leavePeriod = time.Second

// ours is the process as a node of a fleet, over configurations.
var ours = &fleetNode{set: process, kept: kept}

// fleetOfConfig is the fleet that a configuration asks for.
type fleetOfConfig struct {
	engine string
	module fleet.Module
	said   []byte // the configuration, with its placeholders replaced
	logger *zap.Logger
}

func (c *fleetOfConfig) same(other *fleetOfConfig) bool {
	return other != nil && c.engine == other.engine && bytes.Equal(c.said, other.said)
}

// fleetNode is the process as a node: of one fleet at most, whose configuration may be
// that of several loads of Caddy's.
type fleetNode struct {
	set  *live.Set
	kept *records

	// answers is what the node says when another one asks; set once, before any fleet is joined.
	answers func(kind string, question []byte) []byte

	mu     sync.Mutex
	wanted []*fleetOfConfig // by the configurations that are started, the newest last
	joined *fleetOfConfig   // whose fleet the node is in

	present atomic.Pointer[inFleet]    // nil in none
	latest  atomic.Pointer[zap.Logger] // of the newest configuration
}

// inFleet is what the node has while it is in a fleet.
type inFleet struct {
	member *membership.Member
	board  *bulletin.Board
	name   string
	answer time.Duration // how long an answer may take
}

// member is the node's part in its fleet; nil in none, and of no node.
func (n *fleetNode) member() *membership.Member {
	if in := n.union(); in != nil {
		return in.member
	}
	return nil
}

// timeout is how long a handshake may wait for the fleet.
func (n *fleetNode) timeout() time.Duration {
	if in := n.union(); in != nil {
		return in.answer
	}
	return 0
}

// union is what the node has in its fleet; nil in none, and of no node.
func (n *fleetNode) union() *inFleet {
	if n == nil {
		return nil
	}
	return n.present.Load()
}

// name is what the node is called in its fleet; in none that is its host's name, which is
// empty where the system does not say.
func (n *fleetNode) name() string {
	if in := n.union(); in != nil {
		return in.name
	}
	name, _ := os.Hostname()
	return name
}

// view is the fleet as the node knows it, which is the node alone where there is none.
func (n *fleetNode) view() membership.View {
	if in := n.union(); in != nil {
		return in.member.View()
	}
	info := n.info(n.name())
	return membership.View{Engine: "none", Nodes: []membership.NodeView{{
		Name: info.Name, ID: n.set.ID, Self: true, State: info.State, Live: info.Live,
		Seen: time.Now().UTC().Truncate(time.Millisecond), Version: info.Version, Upstreams: info.Upstreams,
	}}}
}

// join has the node be in the fleet of a configuration that starts. One that has not
// changed is not left.
func (n *fleetNode) join(c *fleetOfConfig) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wanted = append(n.wanted, c)
	n.turnLocked()
}

// leave is for a configuration that stops, or has failed to start.
func (n *fleetNode) leave(c *fleetOfConfig) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wanted = slices.DeleteFunc(n.wanted, func(other *fleetOfConfig) bool { return other == c })
	n.turnLocked()
}

// exit leaves the fleet for good.
func (n *fleetNode) exit() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wanted = nil
	n.turnLocked()
}

// turnLocked goes over to the fleet that the newest configuration wants.
func (n *fleetNode) turnLocked() {
	var next *fleetOfConfig
	if len(n.wanted) > 0 {
		next = n.wanted[len(n.wanted)-1]
		n.latest.Store(next.logger)
	}
	if n.joined == next || next != nil && next.same(n.joined) {
		return
	}
	untold := n.partLocked(next != nil)
	n.joined = next
	if next == nil {
		return
	}
	in := n.newMember(next, untold)
	n.present.Store(in)
	n.kept.announce(in.board.Share)
	in.member.Start()
}

// partLocked ends the node's part in its fleet. Where it joins one again, the share stays
// until that has it, or it is void: the two may be one fleet, whose caps must hold meanwhile.
// It returns what operators have said that the fleet was not told, as in an outage that the
// new configuration is to end.
func (n *fleetNode) partLocked(joins bool) (untold []fleet.Record) {
	in := n.present.Swap(nil)
	if in == nil {
		return nil
	}
	n.kept.announce(nil)
	ctx, cancel := context.WithTimeout(context.Background(), leavePeriod)
	defer cancel()
	if joins {
		in.member.Retire(ctx)
	} else {
		in.member.Stop(ctx)
	}
	in.board.Close()
	return in.board.Untold()
}

// newMember makes what a fleet needs of the node.
func (n *fleetNode) newMember(c *fleetOfConfig, untold []fleet.Record) *inFleet {
	settings := c.module.Settings()
	in := &inFleet{name: settings.Node, answer: settings.Timeout}
	in.board = bulletin.New(bulletin.Config{
		ID:      n.set.ID,
		Secret:  settings.Secret,
		Shelves: n.kept.shelves(),
		Adopts:  map[string]bool{stateRecords: true},
		Untold:  untold,
		Logger:  logTo(&n.latest, "ws_gateway"),
		Keep:    n.kept.keepSoon,
		Poke:    func() { in.member.Beat() },
		Answer:  n.answers,
	})
	in.member = membership.New(membership.Config{
		ID:       n.set.ID,
		Settings: settings,
		Engine:   c.engine,
		Open:     c.module.Open,
		Seats:    n.set.Seats,
		Conns:    n.set.Ledger,
		Info:     func() membership.Info { return n.info(settings.Node) },
		Logger:   logTo(&n.latest, "ws_gateway"),
		Observe:  observeFleet,
		News:     in.board,
	})
	return in
}

// info is what the other nodes are to know of this one.
func (n *fleetNode) info(name string) membership.Info {
	view := n.set.Node()
	return membership.Info{Name: name, Version: moduleVersion(), State: view.State, Live: view.Live, Upstreams: n.upstreams()}
}

// upstreams are the connections to each upstream.
func (n *fleetNode) upstreams() map[string]int {
	at := make(map[string]int)
	for _, address := range n.set.Ledger.Addresses() {
		if live := n.set.Ledger.Look(address).Live; live > 0 {
			at[address] = live
		}
	}
	return at
}

// moduleVersion is the version of this module in the binary.
var moduleVersion = sync.OnceValue(func() string {
	const path = "github.com/wsgateway/caddy-ws-gateway"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, module := range append(info.Deps, &info.Main) {
		if module.Path == path {
			return module.Version
		}
	}
	return ""
})
