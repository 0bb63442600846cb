package live

import (
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// panicked counts the panics that were contained. Tests that look at it are not
// parallel.
var panicked atomic.Int64

func init() { panics.Handle(func(*panics.Panic) { panicked.Add(1) }) }

// newSet makes a set that reports to nobody.
func newSet() *Set {
	return NewSet(Reports{
		Closed:   func(*zap.Logger, *Conn, relay.Outcome) {},
		Panicked: func(*zap.Logger, *Conn, *panics.Panic) { panicked.Add(1) },
	}, func() bool { return false })
}

// elapse lets the fake time of a synctest bubble pass.
var elapse = bubble.Elapse

// open adds a live connection to the set and returns its far ends.
func open(t *testing.T, s *Set, upstream, member string, drain time.Duration) (client, backend *bubble.Peer) {
	t.Helper()
	c, client, backend := prepare(t, s, upstream, member, drain)
	live(s, c, client, backend)
	return client, backend
}

// prepare makes a connection and its far ends.
func prepare(t testing.TB, s *Set, upstream, member string, drain time.Duration) (c *Conn, client, backend *bubble.Peer) {
	t.Helper()
	nearClient, client := bubble.NewPeer()
	nearBackend, backend := bubble.NewPeer()
	return s.NewConn(Details{
		ID: NewID(), Gateway: "test", Protocol: ProtocolWebSocket, Upstream: upstream, OpenedAt: time.Now(), DrainPeriod: drain,
		Link: relay.New(relay.Config{Client: nearClient, Upstream: nearBackend}),
	}, member, Authority{}), client, backend
}

// live adds the connection and lets it live.
func live(s *Set, c *Conn, client, backend *bubble.Peer) {
	s.Add(c)
	go func() {
		defer s.Remove(c)
		relayOf(c).Run()
	}()
	go client.AnswerClose()
	go backend.AnswerClose()
}

// run relays until the connection is over.
func run(c *Conn) { c.Finish(relayOf(c).Run()) }

func relayOf(c *Conn) *relay.Relay { return c.Link.(*relay.Relay) }

// lone is a connection without sides, for tests of what counts it.
func lone(gateway, user string) *Conn {
	return newSet().NewConn(Details{ID: NewID(), Gateway: gateway, UserID: user}, "", Authority{})
}

// token is what a connection lives by, and whose it is.
type token struct {
	userID, jti, credential, issuer string
	issued, expires                 time.Time
}

func (k *token) authority() Authority {
	return NewAuthority(k.jti, k.credential, k.issuer, k.issued, k.expires)
}

// renew renews by a token.
func renew(s *Set, gateway, id string, by *token, leads func(member, credential string) bool) Renewal {
	return s.Renew(gateway, id, by.userID, by.authority(), leads)
}

// openAs is open for a connection that lives by a token.
func openAs(t *testing.T, s *Set, user string, by *token) (id string, client, backend *bubble.Peer) {
	t.Helper()
	s.Name("a:1")
	c, client, backend := prepare(t, s, "a:1", "a:1", 0)
	c.UserID = user
	c.authority = by.authority()
	live(s, c, client, backend)
	return c.ID, client, backend
}

// leadsAnywhere is a handler that lets every credential in to every upstream.
func leadsAnywhere(string, string) bool { return true }
