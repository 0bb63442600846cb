package wsgateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/coder/websocket"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
)

func init() {
	caddy.RegisterModule(new(Echo))
	httpcaddyfile.RegisterHandlerDirective("ws_echo", parseEcho)
	httpcaddyfile.RegisterDirectiveOrder("ws_echo", httpcaddyfile.Before, "reverse_proxy")
}

// Echo is an HTTP handler that accepts WebSockets and sends every message back
// as it came: an upstream for trying and testing. It speaks HTTP/1.1, as
// upstreams do, and accepts every origin, because it stands behind a gateway.
// The first subprotocol that the client offers is chosen. Requests that open
// no WebSocket go to the next handler.
//
// Connections are closed with 1001 when the server has no ws_echo with the
// same greeting any more, and when the process exits.
type Echo struct {
	// A text message to send when a connection opens, with placeholders.
	// Default: none.
	Greeting string `json:"greeting,omitempty"`

	key  echoKey
	live *echoConns
}

// CaddyModule returns the Caddy module information.
func (*Echo) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.ws_echo",
		New: func() caddy.Module { return new(Echo) },
	}
}

// parseEcho sets up the handler from Caddyfile tokens. Syntax:
//
//	ws_echo [<matcher>] [<greeting>]
func parseEcho(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next() // the directive's name
	args, err := lineArgs(h.Dispenser, "ws_echo [<matcher>] [<greeting>]", 0, 1)
	if err != nil {
		return nil, err
	}
	echo := new(Echo)
	if len(args) > 0 {
		echo.Greeting = args[0]
	}
	return echo, nil
}

// Provision joins the connections that an earlier configuration of this
// handler left open.
func (e *Echo) Provision(ctx caddy.Context) error {
	e.key = echoKey{greeting: e.Greeting}
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && server != nil {
		e.key.listen = strings.Join(server.Listen, " ")
	}
	live, _, err := echoPool.LoadOrNew(e.key, newEchoConns)
	if err != nil {
		return err
	}
	e.live = live.(*echoConns)
	return nil
}

// Cleanup leaves the connections to the next configuration with this handler, or ends
// them where there is none.
func (e *Echo) Cleanup() error {
	if e.live == nil {
		return nil
	}
	e.live = nil
	_, err := echoPool.Delete(e.key)
	return err
}

// ServeHTTP accepts a WebSocket and echoes until it is closed.
func (e *Echo) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if !handshake.Opens(r) {
		return next.ServeHTTP(w, r)
	}
	if r.ProtoMajor != 1 {
		return caddyhttp.Error(http.StatusNotImplemented, errEchoProtocol)
	}
	var greeting string
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		greeting = repl.ReplaceAll(e.Greeting, "")
	}
	live := e.live
	if !live.enter() {
		return caddyhttp.Error(http.StatusServiceUnavailable, errEchoClosing)
	}
	defer live.leave()

	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // origins are the gateway's business
		Subprotocols:       firstSubprotocol(r.Header),
	})
	if err != nil {
		return nil // Accept has answered the request
	}
	live.serve(conn, greeting)
	return nil
}

var (
	errEchoProtocol = errors.New("ws_echo speaks HTTP/1.1 only: put it behind ws_gateway")
	errEchoClosing  = errors.New("ws_echo is being unloaded")
)

// firstSubprotocol returns the first subprotocol that was offered, as a list
// of at most one.
func firstSubprotocol(header http.Header) []string {
	for _, value := range header.Values("Sec-WebSocket-Protocol") {
		for item := range strings.SplitSeq(value, ",") {
			if item = strings.TrimSpace(item); item != "" {
				return []string{item}
			}
		}
	}
	return nil
}

// echoPool holds the live echo connections over configuration reloads.
var echoPool = caddy.NewUsagePool()

// echoKey is equal for the handlers of successive configurations that share their
// connections.
type echoKey struct {
	listen   string // addresses of the server
	greeting string
}

// echoConns is the set of live connections of a handler.
type echoConns struct {
	closing context.Context // done when no loaded configuration has the handler
	end     context.CancelFunc

	mu    sync.Mutex // guards the following
	count int
	empty chan struct{} // closed when closing is done and count is zero
}

func newEchoConns() (caddy.Destructor, error) {
	closing, end := context.WithCancel(context.Background())
	return &echoConns{closing: closing, end: end, empty: make(chan struct{})}, nil
}

// enter counts a connection, and is false where the connections are being closed.
func (c *echoConns) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing.Err() != nil {
		return false
	}
	c.count++
	return true
}

func (c *echoConns) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count--
	c.signalEmpty()
}

// signalEmpty tells Destruct that the last connection is gone; the caller holds the
// lock. No connection enters after that, so signalEmpty closes the channel once.
func (c *echoConns) signalEmpty() {
	if c.count == 0 && c.closing.Err() != nil {
		close(c.empty)
	}
}

// Destruct closes all connections and gives their peers a moment to answer, so
// that the close frames are out before the process is. It is bounded because a
// reload waits for it.
func (c *echoConns) Destruct() error {
	c.mu.Lock()
	c.end()
	c.signalEmpty()
	c.mu.Unlock()

	patience := time.NewTimer(time.Second)
	defer patience.Stop()
	select {
	case <-c.empty:
	case <-patience.C:
	}
	return nil
}

// serve greets and echoes until either side closes. It returns only when
// nothing touches the connection any more, because the access log reads the
// hijacked connection's counters as soon as the handler has returned.
func (c *echoConns) serve(conn *websocket.Conn, greeting string) {
	defer conn.CloseNow()
	closed := make(chan struct{})
	stop := context.AfterFunc(c.closing, func() {
		defer contain(nil)
		defer close(closed)
		_ = conn.Close(websocket.StatusGoingAway, "") // the echo loop sees the failure
	})
	defer func() {
		if !stop() {
			<-closed
		}
	}()

	// Not the request's context: a context that ends cuts the connection
	// without a close frame, and this one ends by Close alone.
	ctx := context.Background()
	conn.SetReadLimit(-1) // messages are streamed, not held
	if greeting != "" {
		if conn.Write(ctx, websocket.MessageText, []byte(greeting)) != nil {
			return
		}
	}
	for echoMessage(ctx, conn) == nil {
		continue
	}
}

// echoBuffers hold a piece of a message while it is on its way back; a quiet
// connection has none.
var echoBuffers = sync.Pool{New: func() any { return new([16 << 10]byte) }}

// echoMessage sends one message back while it is still coming in.
func echoMessage(ctx context.Context, conn *websocket.Conn) error {
	kind, from, err := conn.Reader(ctx)
	if err != nil {
		return err
	}
	to, err := conn.Writer(ctx, kind)
	if err != nil {
		return err
	}
	buf := echoBuffers.Get().(*[16 << 10]byte)
	defer echoBuffers.Put(buf)
	if _, err := io.CopyBuffer(to, from, buf[:]); err != nil {
		return err
	}
	return to.Close()
}

// Interface guards
var (
	_ caddy.Module                = (*Echo)(nil)
	_ caddy.Provisioner           = (*Echo)(nil)
	_ caddy.CleanerUpper          = (*Echo)(nil)
	_ caddyhttp.MiddlewareHandler = (*Echo)(nil)
	_ caddy.Destructor            = (*echoConns)(nil)
)
