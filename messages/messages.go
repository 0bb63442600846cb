// Package messages is what handlers of WebSocket messages are written against. A
// handler is a Caddy module in the namespace http.ws_gateway.messages; gateways have
// chains of them, through which whole messages pass.
//
// The least handler has one method:
//
//	func (*Shout) HandleMessage(m *messages.Message) (messages.Verdict, error) {
//		if m.Type == messages.Text {
//			m.Payload = bytes.ToUpper(m.Payload)
//		}
//		return messages.Pass, nil
//	}
//
// The example of this package is a whole one, with what Caddy wants of a module and with
// its word in the Caddyfile; examples/shout in the repository is the same as a module of
// its own, which xcaddy can build a Caddy with.
//
// What else a handler may have: [Opener], [PayloadIgnorer], [PlaceholderUser] and
// [Directed], and what any Caddy module may have: Provision, Validate, Cleanup.
//
// # What may be kept
//
// A message, its payload and its context are the handler's until HandleMessage returns:
// what is kept of a payload has to be copied. What a handler sets as the payload of a
// message, it gives away: the handlers behind it may change that in place. The payload of
// a reply is only read, before the next message of that direction is handled. A
// [Connection] does not change, and may be kept; what an [Opener] has made for it should
// hold it no longer than that.
//
// # When handlers are called
//
// Connections outlive the configuration that they have begun with, and so do their
// handlers: HandleMessage may be called, and Close of what an [Opener] has made, after
// Caddy has called the handler's Cleanup. Cleanup must not take away what these need.
package messages

// Handler handles the messages of a gateway's connections, one after the other in each
// direction of a connection. Several directions call it at the same time, also after its
// Cleanup, as long as there are connections from before.
//
// HandleMessage returns what becomes of the message, which it may change. It has until
// [Message.Deadline]. An error ends the connection, with the close code 1011 and a line
// in the log, and so does a panic. Neither may say what is in a message.
type Handler interface {
	HandleMessage(m *Message) (Verdict, error)
}

// Opener is implemented by handlers that keep something for each connection. Open is
// called when a connection is about to begin, and returns what handles the messages of
// that connection in place of the handler: for both directions, which may call it at
// the same time, if the handler is in the chains of both. If that is an io.Closer, it
// is closed when the connection has ended. An error ends the connection (1011).
type Opener interface {
	Open(c *Connection) (Handler, error)
}

// PayloadIgnorer is implemented by handlers that may do without payloads. A message is
// passed on as it comes, and not brought together first, if all handlers of its
// direction say so and the sender does not compress it. HandleMessage is called when
// the message begins, then, and finds no payload, and [Message.Size] is 0. It may give
// any verdict, a reply as well; what it makes of the message itself is not passed on.
// Other messages have their payload, as for any handler. IgnoresPayload is called
// for each connection and direction, of what [Opener] has made where there is one; what
// it says must not change after the handler was provisioned.
type PayloadIgnorer interface {
	IgnoresPayload() bool
}

// PlaceholderUser is implemented by handlers that use placeholders of the request which
// has opened a connection: [Connection.Placeholder] knows those that Placeholders
// names, without braces.
type PlaceholderUser interface {
	Placeholders() []string
}

// Directed is implemented by handlers that have to know which messages they are for.
// SetDirections is called once, after the handler was provisioned and validated, and
// fails where the handler cannot be for these.
type Directed interface {
	SetDirections(fromClient, fromUpstream bool) error
}

// Direction is where a message comes from.
type Direction uint8

// The directions.
const (
	FromClient Direction = iota
	FromUpstream
)

// String returns the direction as configurations, metrics and logs have it.
func (d Direction) String() string {
	if d == FromUpstream {
		return "from_upstream"
	}
	return "from_client"
}

// Type is the type of a message (RFC 6455, section 5.6).
type Type uint8

// The types. A text is always valid UTF-8.
const (
	Text   Type = 1
	Binary Type = 2
)

// String returns the type as configurations, metrics and logs have it.
func (t Type) String() string {
	if t == Binary {
		return "binary"
	}
	return "text"
}

// Connection is the connection that a message belongs to. It does not change.
type Connection struct {
	ID          string // as in logs and at the admin endpoint
	Gateway     string // the gateway's name
	UserID      string // "" where nobody was authenticated
	RemoteIP    string
	Upstream    string // its address
	Subprotocol string // "" for none

	placeholders map[string]string
}

// WithPlaceholders returns the connection with the values of placeholders.
func (c Connection) WithPlaceholders(values map[string]string) *Connection {
	c.placeholders = values
	return &c
}

// Placeholder returns what the placeholder was in the request that opened the
// connection; "" for one that was empty or unknown, or that no [PlaceholderUser] of the
// chain has named.
func (c *Connection) Placeholder(name string) string { return c.placeholders[name] }
