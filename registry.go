package wsgateway

import (
	cryptorand "crypto/rand"
	"encoding/hex"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// process is what outlives a configuration: live connections belong to it.
var process = newRegistry()

// registry knows the live connections, which upstreams the loaded
// configurations name, and who takes the reports of each gateway.
type registry struct {
	ledger *balance.Ledger

	// members counts, by upstream, the loaded configurations that name it.
	members *caddy.UsagePool

	// accesses counts, by upstream and credential, the loaded configurations in
	// which the one leads to the other.
	accesses *caddy.UsagePool

	// Its lock comes after mu.
	deadlines *deadlines

	tls tlsRelay

	mu          sync.Mutex // guards what follows
	connections map[string]*connection
	reporters   map[string][]*zap.Logger   // by gateway, the newest last
	gateways    map[string][]*Handler      // loaded ones, by name
	sources     map[string]*upstreamSource // by member
	series      map[seriesKey]*series
	absent      absent          // what was in series
	unfinished  map[string]bool // gateways whose rebalance ended with a configuration
	exiting     bool
	exitBy      time.Time     // how long an exit waits for connections
	emptied     chan struct{} // closed when the last connection is gone; nil while nobody waits
}

// connection is a live WebSocket. It holds nothing of the request that opened
// it nor of the configuration.
type connection struct {
	id          string
	gateway     string
	userID      string
	remoteIP    string
	proto       string
	upstream    string // its address
	member      string // what names it in a configuration; guarded by the registry's mu
	subprotocol string
	openedAt    time.Time
	drainPeriod time.Duration
	early       earlyClose
	lease       *balance.Lease
	relay       *relay.Relay
	authority   authority   // guarded by the registry's mu
	leaving     atomic.Bool // we are ending it
	tooOld      time.Time   // when max_age is over; zero for never

	// Guarded by the registry's mu.
	unsettled bool // its member is gone, and a source may yet name its upstream
	over      bool
	done      chan struct{} // closed when it is over; nil until somebody waits for that

	// Guarded by the lock of deadlines.
	due      int64 // in milliseconds since 1970
	duePlace int   // in the queue, from 1; 0 for none
	dueNever bool  // it is over

	// The server of an HTTP/3 connection, which waits for its clients to hang
	// up when the process exits; nil for others.
	server io.Closer
}

// seriesKey is a pair of label values of the connections metric.
type seriesKey struct{ gateway, upstream string }

type series struct {
	live   int
	wanted int // configurations that name the upstream
	totals
}

// member is the value in members; its end drains what is left of the upstream.
type member struct {
	registry *registry
	name     string
}

// Destruct implements caddy.Destructor: no loaded configuration names the
// upstream any more.
func (m *member) Destruct() error {
	defer contain(nil) // a reload has others to end
	if caddy.Exiting() {
		return nil // everyone is told 1001 instead
	}
	m.registry.settle(func(c *connection) bool { return c.member == m.name || c.upstream == m.name || c.unsettled })
	return nil
}

func newRegistry() *registry {
	g := &registry{
		ledger:      balance.NewLedger(),
		members:     caddy.NewUsagePool(),
		accesses:    caddy.NewUsagePool(),
		deadlines:   &deadlines{end: (*connection).endOnTime},
		tls:         tlsRelay{trouble: relay.TLSTrouble},
		connections: make(map[string]*connection),
		reporters:   make(map[string][]*zap.Logger),
		gateways:    make(map[string][]*Handler),
		sources:     make(map[string]*upstreamSource),
		series:      make(map[seriesKey]*series),
		absent:      absent{kept: make(map[seriesKey]*keptTotals)},
		unfinished:  make(map[string]bool),
	}
	return g
}

// join tells that a configuration names an upstream for a gateway; leave is
// called once for each join.
func (g *registry) join(name string) error {
	_, _, err := g.members.LoadOrNew(name, func() (caddy.Destructor, error) {
		return &member{registry: g, name: name}, nil
	})
	return err
}

func (g *registry) leave(name string) { _, _ = g.members.Delete(name) }

// wanted reports whether a loaded configuration names the connection's upstream,
// or may name it.
func (g *registry) wanted(c *connection) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.names(c.member) || len(g.heirsLocked(c)) > 0 || g.undecidedLocked(c)
}

// names tells whether a loaded configuration names an upstream.
func (g *registry) names(member string) bool {
	refs, ok := g.members.References(member)
	return ok && refs > 0
}

// show keeps a series of the connections metric visible while a configuration
// names its upstream.
func (g *registry) show(key seriesKey, delta int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.countLocked(key, 0, delta)
}

func (g *registry) countLocked(key seriesKey, live, wanted int) {
	s := g.series[key]
	if s == nil {
		s = &series{totals: g.absent.take(key)}
		g.series[key] = s
	}
	s.live += live
	s.wanted += wanted
	if live > 0 {
		s.opened++
	}
	if s.live == 0 && s.wanted == 0 {
		delete(g.series, key)
		g.absent.keep(key, s.totals, g.presentLocked)
	}
}

// failed counts a handshake that an upstream failed.
func (g *registry) failed(key seriesKey) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.series[key]; s != nil {
		s.failed++
		return
	}
	g.absent.keep(key, totals{failed: 1}, g.presentLocked)
}

// stays tells whether nothing asks for the connection to leave its upstream.
func (g *registry) stays(c *connection) bool {
	return g.wanted(c) && g.ledger.Look(c.upstream).State != balance.Drain
}

// add makes the connection known. Where it came too late, because the process
// exits, or its upstream or credential was removed meanwhile, it is ended like
// the others.
func (g *registry) add(c *connection) {
	exiting, revoked := g.enlist(c)
	switch {
	case exiting:
		c.end(endExit)
	case revoked:
		c.tell(endRevoked)
	case !g.stays(c):
		g.drain(func(other *connection) bool { return other == c })
	}
}

// enlist reports, too, whether the end of the connection is claimed, because its
// credential was withdrawn.
func (g *registry) enlist(c *connection) (exiting, revoked bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.countLocked(seriesKey{c.gateway, c.upstream}, 1, 0)
	g.connections[c.id] = c
	g.deadlines.set(c, c.endsBy(c.authority.expires))
	g.rehomeLocked(c)
	return g.exiting, !g.exiting && !g.stillAccepted(c, c.authority.credential) && c.claimEnd()
}

// remove forgets the connection and gives its place back, which is done first.
func (g *registry) remove(c *connection) {
	defer g.forget(c)
	defer g.deadlines.forget(c)
	c.lease.Release()
}

func (g *registry) forget(c *connection) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.over = true
	if c.done != nil {
		close(c.done)
	}
	if g.connections[c.id] != c {
		return // it did not get as far as that
	}
	delete(g.connections, c.id)
	g.countLocked(seriesKey{c.gateway, c.upstream}, -1, 0)
	if len(g.connections) == 0 && g.emptied != nil {
		close(g.emptied)
		g.emptied = nil
	}
}

// ended returns a channel that is closed when the connection is over.
func (g *registry) ended(c *connection) <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.over {
			close(c.done)
		}
	}
	return c.done
}

// list copies the connections that match.
func (g *registry) list(match func(*connection) bool) []*connection {
	g.mu.Lock()
	defer g.mu.Unlock()
	var found []*connection
	for _, c := range g.connections {
		if match(c) {
			found = append(found, c)
		}
	}
	return found
}

// enter makes a loaded handler known under its name; leaveAs undoes it.
func (g *registry) enter(h *Handler) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gateways[h.name] = append(g.gateways[h.name], h)
}

func (g *registry) leaveAs(h *Handler) {
	g.mu.Lock()
	defer g.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(g.gateways[h.name]), func(other *Handler) bool { return other == h })
	if len(left) == 0 {
		delete(g.gateways, h.name)
		return
	}
	g.gateways[h.name] = left
}

// shared tells whether another loaded handler has the same name and other
// upstreams.
func (g *registry) shared(h *Handler) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.gateways[h.name], func(other *Handler) bool {
		return !slices.Equal(other.joined, h.joined)
	})
}

// handOver leaves the rest of a gateway's rebalance to the next configuration;
// takeOver tells that one, once.
func (g *registry) handOver(gateway string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unfinished[gateway] = true
}

func (g *registry) takeOver(gateway string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	unfinished := g.unfinished[gateway]
	delete(g.unfinished, gateway)
	return unfinished
}

// addressesOf lists where connections are that opened as one of the members.
func (g *registry) addressesOf(members []string) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var addresses []string
	for _, c := range g.connections {
		if slices.Contains(members, c.member) && !slices.Contains(addresses, c.upstream) {
			addresses = append(addresses, c.upstream)
		}
	}
	return addresses
}

// staying counts a gateway's connections at each upstream, without those that
// are leaving.
func (g *registry) staying(gateway string) map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := make(map[string]int)
	for _, c := range g.connections {
		if c.gateway == gateway && !c.leaving.Load() {
			at[c.upstream]++
		}
	}
	return at
}

// endIdlest ends the connection at an address that has been quiet for longest.
func (g *registry) endIdlest(gateway, upstream string, e ending) bool {
	var idlest *connection
	var since time.Time
	for _, c := range g.list(func(c *connection) bool { return c.gateway == gateway && c.upstream == upstream && !c.leaving.Load() }) {
		if active := c.relay.LastActive(); idlest == nil || active.Before(since) {
			idlest, since = c, active
		}
	}
	if idlest == nil {
		return false
	}
	idlest.end(e)
	return true
}

// reportTo makes logger take the reports of the gateway's connections, until
// noReportTo. The newest one does, so that reports go where the running
// configuration sends them, and back where a configuration fails to load.
func (g *registry) reportTo(gateway string, logger *zap.Logger) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reporters[gateway] = append(g.reporters[gateway], logger)
}

func (g *registry) noReportTo(gateway string, logger *zap.Logger) {
	g.mu.Lock()
	defer g.mu.Unlock()
	left := slices.DeleteFunc(g.reporters[gateway], func(l *zap.Logger) bool { return l == logger })
	if len(left) == 0 {
		delete(g.reporters, gateway)
		return
	}
	g.reporters[gateway] = left
}

// reporter is the logger for a gateway's connections; Caddy's own where no
// configuration has the gateway any more.
func (g *registry) reporter(gateway string) *zap.Logger {
	g.mu.Lock()
	defer g.mu.Unlock()
	if loggers := g.reporters[gateway]; len(loggers) > 0 {
		return loggers[len(loggers)-1]
	}
	return caddy.Log().Named(moduleID)
}

// newConnectionID makes an ID that cannot be guessed.
func newConnectionID() string {
	var id [8]byte
	_, _ = cryptorand.Read(id[:]) // never fails, says its documentation
	return hex.EncodeToString(id[:])
}
