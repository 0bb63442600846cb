package wsgateway

import (
	"cmp"
	cryptorand "crypto/rand"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// hangUpDelay is what HTTP/3 clients have to close a connection when the process
// exits.
const hangUpDelay = 2 * time.Second

// process is what outlives a configuration: live connections belong to it.
var process = newRegistry()

// registry knows the live connections, which upstreams the loaded
// configurations name, and who takes the reports of each gateway.
type registry struct {
	ledger *ledger

	// members counts, by upstream, the loaded configurations that name it.
	members *caddy.UsagePool

	mu          sync.Mutex // guards what follows
	connections map[string]*connection
	reporters   map[string][]*zap.Logger // by gateway, the newest last
	series      map[seriesKey]*series
	exiting     bool
	exitBy      time.Time     // how long an exit waits for connections
	emptied     chan struct{} // closed when the last connection is gone while exiting
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
	member      string // what names it in a configuration
	subprotocol string
	openedAt    time.Time
	drainPeriod time.Duration
	lease       *lease
	relay       *relay.Relay
	done        chan struct{} // closed when it is over

	// The server of an HTTP/3 connection, which waits for its clients to hang
	// up when the process exits; nil for others.
	server io.Closer
}

// seriesKey is a pair of label values of the connections metric.
type seriesKey struct{ gateway, upstream string }

type series struct {
	live   int
	wanted int // configurations that name the upstream
}

// member is the value in members; its end drains what is left of the upstream.
type member struct {
	registry *registry
	name     string
}

// Destruct implements caddy.Destructor: no loaded configuration names the
// upstream any more.
func (m *member) Destruct() error {
	m.registry.drain(func(c *connection) bool { return c.member == m.name || c.upstream == m.name })
	return nil
}

func newRegistry() *registry {
	return &registry{
		ledger:      newLedger(),
		members:     caddy.NewUsagePool(),
		connections: make(map[string]*connection),
		reporters:   make(map[string][]*zap.Logger),
		series:      make(map[seriesKey]*series),
	}
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

// wanted tells whether a loaded configuration names the connection's upstream.
func (g *registry) wanted(c *connection) bool {
	for _, name := range [...]string{c.member, c.upstream} {
		if refs, ok := g.members.References(name); ok && refs > 0 {
			return true
		}
	}
	return false
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
		s = new(series)
		g.series[key] = s
	}
	s.live += live
	s.wanted += wanted
	if s.live == 0 && s.wanted == 0 {
		delete(g.series, key)
	}
}

// add makes the connection known. Where it came too late, because the process
// exits or its upstream was removed meanwhile, it is ended like the others.
func (g *registry) add(c *connection) {
	g.mu.Lock()
	g.connections[c.id] = c
	g.countLocked(seriesKey{c.gateway, c.upstream}, 1, 0)
	exiting := g.exiting
	g.mu.Unlock()
	switch {
	case exiting:
		c.end(endExit)
	case !g.wanted(c):
		g.drain(func(other *connection) bool { return other == c })
	}
}

// remove forgets the connection and gives its place back.
func (g *registry) remove(c *connection) {
	close(c.done)
	c.lease.release()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.connections, c.id)
	g.countLocked(seriesKey{c.gateway, c.upstream}, -1, 0)
	if g.exiting && len(g.connections) == 0 && g.emptied != nil {
		close(g.emptied)
		g.emptied = nil
	}
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

// drain ends the connections that match over the drain period each was opened
// with: idle ones first, evenly, with jitter. One whose upstream comes back in
// the meantime stays.
func (g *registry) drain(match func(*connection) bool) {
	draining := g.list(match)
	if len(draining) == 0 {
		return
	}
	idleSince := make(map[*connection]time.Time, len(draining))
	for _, c := range draining {
		idleSince[c] = c.relay.LastActive()
	}
	slices.SortFunc(draining, func(a, b *connection) int { return idleSince[a].Compare(idleSince[b]) })
	schedule := make([]departure, len(draining))
	for i, c := range draining {
		schedule[i] = departure{c, departAfter(c.drainPeriod, i, len(draining))}
	}
	slices.SortFunc(schedule, func(a, b departure) int { return cmp.Compare(a.after, b.after) })
	go g.runDrain(schedule)
}

type departure struct {
	connection *connection
	after      time.Duration
}

// departAfter is when the i-th of n connections is ended: somewhere within its
// n-th part of the period.
func departAfter(period time.Duration, i, n int) time.Duration {
	part := float64(period) / float64(n)
	return time.Duration(part * (float64(i) + rand.Float64())) //nolint:gosec // jitter needs no secrecy
}

func (g *registry) runDrain(schedule []departure) {
	start := time.Now()
	for _, d := range schedule {
		if wait := d.after - time.Since(start); wait > 0 {
			select {
			case <-time.After(wait):
			case <-d.connection.done:
				continue
			}
		}
		if !g.wanted(d.connection) {
			d.connection.end(endDrain)
		}
	}
}

// exit ends every connection, and each that comes from now on. awaitEmpty will
// wait for them no longer than period.
func (g *registry) exit(period time.Duration) {
	g.mu.Lock()
	if !g.exiting {
		g.exiting = true
		g.exitBy = time.Now().Add(period)
		if len(g.connections) > 0 {
			g.emptied = make(chan struct{})
		}
	}
	g.mu.Unlock()
	for _, c := range g.list(func(*connection) bool { return true }) {
		c.end(endExit)
	}
}

// hangUp closes the HTTP/3 servers that hold live connections, once these are
// over and their clients had time to close the QUIC connection themselves, as
// RFC 9114 section 5.2 asks of them: a server without a grace period would wait
// for those that do not for ever.
func (g *registry) hangUp() {
	servers := make(map[io.Closer][]*connection)
	for _, c := range g.list(func(c *connection) bool { return c.server != nil }) {
		servers[c.server] = append(servers[c.server], c)
	}
	for server, connections := range servers {
		go hangUpAfter(server, connections)
	}
}

func hangUpAfter(server io.Closer, connections []*connection) {
	for _, c := range connections {
		<-c.done
	}
	time.Sleep(hangUpDelay)
	_ = server.Close()
}

// awaitEmpty waits, while the process exits, until every connection is gone or
// the time for it is over.
func (g *registry) awaitEmpty() {
	g.mu.Lock()
	emptied, left := g.emptied, time.Until(g.exitBy)
	g.mu.Unlock()
	if emptied == nil || left <= 0 {
		return
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-emptied:
	case <-timer.C:
	}
}

func (g *registry) isExiting() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.exiting
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
