package wsgateway

import (
	"cmp"
	"io"
	"math/rand/v2"
	"slices"
	"time"
)

// hangUpDelay is what HTTP/3 clients have to close a connection when the process
// exits.
const hangUpDelay = 2 * time.Second

// drain ends the connections that match over the drain period each was opened
// with: idle ones first, evenly, with jitter. One whose upstream comes back in
// the meantime stays.
func (g *registry) drain(match func(*connection) bool) {
	g.drainWhile(match, func(c *connection) bool { return !g.stays(c) })
}

// drainWhile is drain for another reason, which still must hold when a
// connection's turn has come.
func (g *registry) drainWhile(match, still func(*connection) bool) {
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
	go g.runDrain(schedule, still)
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

func (g *registry) runDrain(schedule []departure, still func(*connection) bool) {
	defer contain(nil)
	start := time.Now()
	for _, d := range schedule {
		if wait := d.after - time.Since(start); wait > 0 {
			select {
			case <-time.After(wait):
			case <-g.ended(d.connection):
				continue
			}
		}
		d.leave(still)
	}
}

// leave ends the connection if there is still reason to.
func (d departure) leave(still func(*connection) bool) {
	defer d.connection.contain() // there are others to be ended
	if still(d.connection) {
		d.connection.end(endDrain)
	}
}

// exit ends every connection, and each that comes from now on. awaitEmpty will
// wait for them no longer than period. It tells whether this was the first call.
func (g *registry) exit(period time.Duration) (first bool) {
	g.mu.Lock()
	first = !g.exiting
	if first {
		g.exiting = true
		g.exitBy = time.Now().Add(period)
	}
	g.mu.Unlock()
	for _, c := range g.list(func(*connection) bool { return true }) {
		c.end(endExit)
	}
	return first
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
		go g.hangUpAfter(server, connections)
	}
}

func (g *registry) hangUpAfter(server io.Closer, connections []*connection) {
	defer contain(nil)
	for _, c := range connections {
		<-g.ended(c)
	}
	time.Sleep(hangUpDelay)
	_ = server.Close()
}

// awaitEmpty waits, while the process exits, until every connection is gone or
// the time for it is over.
func (g *registry) awaitEmpty() {
	g.mu.Lock()
	left := time.Until(g.exitBy)
	if len(g.connections) == 0 || left <= 0 {
		g.mu.Unlock()
		return
	}
	if g.emptied == nil {
		g.emptied = make(chan struct{})
	}
	emptied := g.emptied
	g.mu.Unlock()
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
