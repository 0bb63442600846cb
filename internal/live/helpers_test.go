package live

import (
	"io"
	"net"
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
	})
}

// elapse lets the fake time of a synctest bubble pass.
var elapse = bubble.Elapse

// peer is the far end of one side of a connection.
type peer struct {
	net.Conn
	code chan int // of the close frame it got
}

// answerClose reads until a close frame, records its code and answers it.
func (p *peer) answerClose() {
	buf := make([]byte, 256)
	n, err := p.Read(buf)
	if err != nil || n < 2 || buf[0] != 0x88 {
		p.code <- 0
		return
	}
	payload := buf[2:n]
	if buf[1]&0x80 != 0 {
		key := payload[:4]
		payload = payload[4:]
		for i := range payload {
			payload[i] ^= key[i%4]
		}
	}
	p.code <- int(payload[0])<<8 | int(payload[1])
	_, _ = p.Write([]byte{0x88, 0x02, payload[0], payload[1]})
	_, _ = io.Copy(io.Discard, p)
}

// open adds a live connection to the set and returns its far ends.
func open(t *testing.T, s *Set, upstream, member string, drain time.Duration) (client, backend *peer) {
	t.Helper()
	c, client, backend := prepare(t, s, upstream, member, drain)
	live(s, c, client, backend)
	return client, backend
}

// prepare makes a connection and its far ends.
func prepare(t *testing.T, s *Set, upstream, member string, drain time.Duration) (c *Conn, client, backend *peer) {
	t.Helper()
	nearClient, farClient := net.Pipe()
	nearBackend, farBackend := net.Pipe()
	client, backend = &peer{farClient, make(chan int, 1)}, &peer{farBackend, make(chan int, 1)}
	return s.NewConn(Details{
		ID: NewID(), Gateway: "test", Upstream: upstream, OpenedAt: time.Now(), DrainPeriod: drain,
		Relay: relay.New(relay.Config{Client: nearClient, Upstream: nearBackend}),
	}, member, Authority{}), client, backend
}

// live adds the connection and lets it live.
func live(s *Set, c *Conn, client, backend *peer) {
	s.Add(c)
	go func() {
		defer s.Remove(c)
		c.Relay.Run()
	}()
	go client.answerClose()
	go backend.answerClose()
}

// lone is a connection without sides, for tests of what counts it.
func lone(gateway, user string) *Conn {
	return newSet().NewConn(Details{ID: NewID(), Gateway: gateway, UserID: user}, "", Authority{})
}

// token is what a connection lives by, and whose it is.
type token struct {
	userID, jti, credential, issuer string
	expires                         time.Time
}

func (k *token) authority() Authority { return NewAuthority(k.jti, k.credential, k.issuer, k.expires) }

// renew renews by a token.
func renew(s *Set, gateway, id string, by *token, leads func(member, credential string) bool) Renewal {
	return s.Renew(gateway, id, by.userID, by.authority(), leads)
}

// openAs is open for a connection that lives by a token.
func openAs(t *testing.T, s *Set, user string, by *token) (id string, client, backend *peer) {
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
