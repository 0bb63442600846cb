package assembly

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// DefaultMessageSize is the most bytes of a message that is brought together, where
// nothing else is set.
const DefaultMessageSize = 1 << 20

// Config says what a Conn stands for and what becomes of messages.
type Config struct {
	// The upstream after its handshake, and what was read behind that. Both are the
	// Conn's.
	Upstream relay.Conn
	Early    []byte

	// Whose messages they are, and what they go through.
	Connection *messages.Connection
	Chains     [2]Chain // by direction
	Reporter   Reporter

	// What the two sides have agreed on with the gateway.
	Client, Server handshake.Deflate

	// The most bytes of a message, decompressed, in either direction; 0 for
	// DefaultMessageSize where messages are brought together, and for any size where they
	// pass as they come.
	MessageSize int

	// How long the upstream may take nothing of what is written to it.
	WriteTimeout time.Duration
}

// Ender ends the connection. It is the relay that the Conn is given to.
type Ender interface {
	Reject(offender relay.Party, cause, client, upstream relay.Close, limit string)
}

// Conn stands in for an upstream. What is written to it is overwritten.
type Conn struct {
	Config
	opened
	ender    Ender
	upstream *outlet
	toClient *inbox
	rejected atomic.Bool // nothing of either side is passed on any more

	fromClient clientLeg
	fromServer serverLeg

	closing sync.Once
}

// New returns a Conn whose handlers have prepared for the connection. Where they cannot,
// the error is an [OpenError], and the Conn only serves to end the connection.
func New(c Config) (*Conn, error) {
	conn := &Conn{Config: c}
	var err error
	conn.opened, err = openChains(c.Chains, c.Connection)
	conn.upstream = newOutlet(c.Upstream, c.WriteTimeout)
	conn.toClient = newInbox(c.Upstream)
	conn.fromClient.init(conn)
	conn.fromServer.init(conn)
	return conn, err
}

// Bind tells the Conn what ends the connection, before the relay starts.
func (c *Conn) Bind(e Ender) { c.ender = e }

// Write takes some of the client's stream, and overwrites it.
func (c *Conn) Write(p []byte) (int, error) {
	if c.rejected.Load() {
		return len(p), nil
	}
	if err := c.fromClient.take(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Read returns some of the stream that is for the client.
func (c *Conn) Read(p []byte) (int, error) { return c.fromServer.read(p) }

// SetWriteDeadline implements relay.Conn. A write that makes progress outlasts the
// deadline unless that has passed when it is set.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	if c.upstream.setDeadline(t) {
		c.toClient.close() // the connection ends
	}
	return nil
}

// NetConn returns the upstream, so that the relay finds out whether that takes something.
func (c *Conn) NetConn() net.Conn {
	upstream, _ := c.Config.Upstream.(net.Conn)
	return upstream
}

// Next returns the frames that there are for the client, as soon as there are any, until
// Release is called.
func (c *Conn) Next() ([]byte, error) { return c.fromServer.next() }

// Release says that the client has got what Next has returned.
func (c *Conn) Release() { c.fromServer.letGo() }

// Tell implements relay.Teller.
func (c *Conn) Tell(last relay.Close, within time.Duration) error {
	return c.upstream.tell(last, within)
}

// Close ends a Read and a Write that are in progress, once the handlers have returned.
func (c *Conn) Close() error {
	c.toClient.close()
	c.toClient.stop()
	c.upstream.close()
	return c.Config.Upstream.Close()
}

// Finish lets go of what handlers have made for the connection, which has ended.
func (c *Conn) Finish() {
	c.closing.Do(func() {
		c.opened.close()
		c.fromClient.leg.partial.letGo()
		c.fromServer.leg.partial.letGo()
		c.fromServer.uncharge()
		c.fromClient.watch.finish()
		c.fromServer.watch.finish()
	})
}

func closeContained(closer io.Closer) {
	defer panics.Contain()
	_ = closer.Close()
}

// ending is how a connection ends because of what a side has sent.
type ending struct {
	offender                relay.Party
	cause, client, upstream relay.Close
	limit                   string
}

// reject ends the connection. The relay is at the end of a frame to the client, or will
// come there.
func (c *Conn) reject(e ending) {
	if c.rejected.Swap(true) {
		return
	}
	c.ender.Reject(e.offender, e.cause, e.client, e.upstream, e.limit)
	c.upstream.sayGoodbye(e.upstream)
}

// fault is the end for what no handler has decided.
func fault(offender relay.Party, v violation) ending {
	cause := relay.Close{Code: v.code, Reason: offender.String() + ": " + v.reason}
	other := relay.Close{Code: 1001, Reason: cause.Reason}
	if offender == relay.Client {
		return ending{offender, cause, cause, other, v.limit}
	}
	return ending{offender, cause, other, cause, v.limit}
}

// refusal is the end that a handler has decided. An upstream is told the code as well
// whose message it was.
func refusal(sender relay.Party, code int, reason string) ending {
	cause := relay.Close{Code: code, Reason: reason}
	if sender == relay.Client {
		return ending{sender, cause, cause, relay.Close{Code: 1001, Reason: "a message of the client was refused"}, ""}
	}
	return ending{sender, cause, cause, cause, ""}
}

// collapse is the end for a handler that has failed.
func collapse(sender relay.Party) ending {
	cause := relay.Close{Code: 1011, Reason: "internal error"}
	return ending{sender, cause, cause, cause, ""}
}

// errClosed is why nothing can be written any more.
var errClosed = errors.New("assembly: closed")

func isDeadline(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
