package main

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// life is what becomes of one connection. It travels in the query, so that the upstream
// knows its part, and what to expect of the client.
type life struct {
	ID      string
	Seed    uint64
	Carrier string
	Route   string

	Messages int           // that the client sends
	Think    time.Duration // between them, on average
	Burst    int           // messages that come at once, now and then
	Pushes   time.Duration // between messages of the upstream's own, on average
	Pings    int           // in a hundred messages, of either side

	Client     fault // after ClientAt messages were sent
	ClientAt   int
	Upstream   fault // after UpstreamAt messages have come
	UpstreamAt int
}

// fault is what a side does to its connection.
type fault string

const (
	none      fault = ""          // the client closes in order when all has come back
	chases    fault = "chases"    // a close frame right behind the last message
	closes    fault = "closes"    // the upstream closes in order, at any moment
	pauses    fault = "pauses"    // reads nothing for a while, and goes on
	stalls    fault = "stalls"    // reads nothing for longer than the gateway waits
	resets    fault = "resets"    // RST
	hangsUp   fault = "hangs up"  // closes both ways without a close frame
	halves    fault = "halves"    // ends what it sends, and hears the rest
	truncates fault = "truncates" // the same, in the middle of a frame
	garbles   fault = "garbles"   // garbage in place of a frame
)

// The routes: with and without TLS to the upstream, held to everything that ends nobody,
// and held to limits that end connections.
const (
	plainRoute     = "plain"
	encryptedRoute = "encrypted"
	limitedRoute   = "limited"
	tightRoute     = "tight"
)

// harmless reports whether the side leaves the connection alone, up to an end in order.
func (f fault) harmless() bool { return f == none || f == chases || f == closes || f == pauses }

var (
	chaosCarriers = slices.Concat(slices.Repeat([]string{"h1"}, 6), slices.Repeat([]string{"h1s"}, 4), []string{"h1w", "h1w", "h2", "h2", "h3"})
	chaosRoutes   = []string{plainRoute, plainRoute, limitedRoute, limitedRoute, limitedRoute, encryptedRoute, tightRoute}
	clientFaults  = []fault{pauses, pauses, stalls, resets, hangsUp, halves, truncates, garbles, chases, chases}
	serverFaults  = []fault{pauses, pauses, stalls, resets, hangsUp, halves, truncates, garbles, closes, closes}
)

// drawLife draws the life with the number; think is how long a client thinks on average.
func drawLife(seed uint64, number int64, think time.Duration) life {
	r := rand.New(rand.NewPCG(seed, uint64(number))) //nolint:gosec // it must be possible to draw the same again
	l := life{
		ID: "k" + strconv.FormatInt(number, 10), Seed: seed,
		Carrier: chaosCarriers[r.IntN(len(chaosCarriers))], Route: chaosRoutes[r.IntN(len(chaosRoutes))],
		Messages: 1 + r.IntN(40), Think: think/4 + time.Duration(r.Int64N(int64(2*think))), Burst: 1 + r.IntN(20),
		Pushes: think + time.Duration(r.Int64N(int64(5*think))), Pings: r.IntN(20),
	}
	if r.IntN(20) == 0 {
		l.Messages = 0
	}
	l.ClientAt, l.UpstreamAt = r.IntN(l.Messages+1), 1+r.IntN(l.Messages+1)
	switch n := r.IntN(100); {
	case n < 30:
		l.Client = clientFaults[r.IntN(len(clientFaults))]
	case n < 60:
		l.Upstream = serverFaults[r.IntN(len(serverFaults))]
	case n < 65:
		l.Client, l.Upstream = clientFaults[r.IntN(len(clientFaults))], serverFaults[r.IntN(len(serverFaults))]
	}
	return l
}

// String shows a life as it is needed to see what went wrong.
func (l *life) String() string {
	return fmt.Sprintf("%s over %s to %s, client %q at %d of %d, upstream %q at %d",
		l.ID, l.Carrier, l.Route, l.Client, l.ClientAt, l.Messages, l.Upstream, l.UpstreamAt)
}

func (l *life) voice(pushes bool) voice { return voice{seed: l.Seed, name: l.ID, pushes: pushes} }

// pingPayload is what the ping with the number says, of either side.
func (l *life) pingPayload(n int) []byte { return fmt.Appendf(nil, "ping of %s %d", l.ID, n) }

// random draws for one of those who take part.
func (l *life) random(part uint64) *rand.Rand {
	return rand.New(rand.NewPCG(l.Seed^uint64(crc32.ChecksumIEEE([]byte(l.ID))), part)) //nolint:gosec // it must be possible to draw the same again
}

// pausing is how long a side reads nothing.
func (f fault) pausing(r *rand.Rand) time.Duration {
	if f == stalls {
		return chaosWriteTimeout*5/2 + time.Duration(r.Int64N(int64(time.Second)))
	}
	return 100*time.Millisecond + time.Duration(r.Int64N(int64(chaosWriteTimeout/2)))
}

// target is the request's path and query.
func (l *life) target() string { return "/" + l.Route + "?life=" + inQuery(l) }

// lifeOf reads what target wrote.
func lifeOf(u *url.URL) (l life, err error) {
	err = fromQuery(u, "life", &l)
	return l, err
}
