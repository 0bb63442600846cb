package wsgateway

import (
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// closeTimeout is what the two sides have to answer a close frame.
const closeTimeout = 3 * time.Second

// ending is why the gateway ends a connection: what each side is told.
type ending struct{ client, upstream relay.Close }

// The close codes that the gateway sends of its own accord (RFC 6455 section
// 7.4.1 and the IANA registry). What a side is told when the other one is gone
// is the relay's.
var (
	// The process exits: clients should come back to another one.
	endExit = ending{
		client:   relay.Close{Code: 1001, Reason: "server is shutting down"},
		upstream: relay.Close{Code: 1001, Reason: "gateway is shutting down"},
	}
	// The upstream was taken out: clients should come back, to be given another.
	endDrain = ending{
		client:   relay.Close{Code: 1012, Reason: "service restart"},
		upstream: relay.Close{Code: 1001, Reason: "gateway is draining"},
	}
)

// The connection has become as old as it may.
var endAge = ending{
	client:   relay.Close{Code: 1012, Reason: "connection is too old"},
	upstream: relay.Close{Code: 1001, Reason: "gateway ends old connections"},
}

// The connection is to come back to an upstream that holds fewer.
var endRebalance = ending{
	client:   relay.Close{Code: 1012, Reason: "rebalancing"},
	upstream: relay.Close{Code: 1001, Reason: "gateway is rebalancing"},
}

// The registered code 3000 says that the client is not authorized any more.
var (
	endExpired = ending{
		client:   relay.Close{Code: 3000, Reason: "token expired"},
		upstream: relay.Close{Code: 1001, Reason: "the client's token expired"},
	}
	// The credential was taken out of the configuration, or revoked by hand.
	endRevoked = ending{
		client:   relay.Close{Code: 3000, Reason: "token revoked"},
		upstream: relay.Close{Code: 1001, Reason: "the client's token was revoked"},
	}
)

// end closes the connection from our side, at a frame boundary of each. It is
// false where that was done before.
func (c *connection) end(e ending) bool {
	if !c.claimEnd() {
		return false
	}
	c.tell(e)
	return true
}

// claimEnd reports whether it is the caller who ends the connection, and has to
// tell the sides. Where that is decided under a lock, a renewal that takes the
// lock later sees it.
func (c *connection) claimEnd() bool { return !c.leaving.Swap(true) }

// tell tells both sides that the connection ends.
func (c *connection) tell(e ending) { c.relay.End(e.client, e.upstream) }

// start relays without keeping the caller. Nothing of the request may be held on
// to.
func (c *connection) start() { c.relay.Start(c.ended) }

// run relays until the connection is over, as a stream needs it whose handler
// has to stay.
func (c *connection) run() { c.ended(c.relay.Run()) }

// ended reports the connection and forgets it. Nothing of it keeps the rest from
// being done.
func (c *connection) ended(outcome relay.Outcome) {
	defer c.contain()
	defer process.remove(c)
	defer c.reportClosed(outcome)
	if outcome.Panic != nil {
		c.reportPanic(outcome.Panic)
	}
	c.early.judge(c, outcome)
}

// upgraded is a client's side after its upgrade.
type upgraded struct {
	conn     relay.Conn
	early    []byte // what arrived behind the handshake
	detached bool   // the connection is ours, and the handler may return
	end      func() // to be called when the handler is about to return; nil for none
}

// negotiated are the fields of an answer that no header operation may touch.
var negotiated = append(slices.Clone(hopByHop), "Sec-Websocket-Protocol", "Sec-Websocket-Extensions")

// answerHeader makes the header of the client's 101 (or 200) from the verified
// answer of the upstream. fallback is the subprotocol to select where the
// upstream selected none.
func (h *Handler) answerHeader(w http.ResponseWriter, r *http.Request, res *http.Response, fallback string) (subprotocol string) {
	header := res.Header
	extensions := header["Sec-Websocket-Extensions"]
	if protocols := header["Sec-Websocket-Protocol"]; len(protocols) > 0 {
		subprotocol = protocols[0]
	} else {
		subprotocol = fallback
	}
	removeHopByHop(header)
	if ops := h.responseOps; ops != nil && (ops.Require == nil || ops.Require.Match(res.StatusCode, header)) {
		ops.ApplyTo(header, replacerOf(r))
	}
	for _, name := range negotiated {
		delete(header, name)
	}

	out := w.Header()
	if len(header["Server"]) > 0 {
		delete(out, "Server")
	}
	for name, values := range header {
		out[name] = append(slices.Clip(out[name]), values...)
	}
	if subprotocol != "" {
		out["Sec-Websocket-Protocol"] = []string{subprotocol}
	}
	if len(extensions) > 0 {
		out["Sec-Websocket-Extensions"] = extensions
	}
	if r.ProtoMajor == 1 {
		out["Upgrade"] = []string{"websocket"}
		out["Connection"] = []string{"Upgrade"}
		out["Sec-Websocket-Accept"] = []string{acceptOf(strings.TrimSpace(r.Header.Get("Sec-Websocket-Key")))}
	}
	return subprotocol
}

// upgrade answers the client and takes its side of the connection over.
func upgrade(w http.ResponseWriter, r *http.Request, writeTimeout time.Duration) (upgraded, error) {
	if r.ProtoMajor == 1 {
		return hijack(w, r)
	}
	return stream(w, r, writeTimeout)
}

// hijack takes the raw connection from below every wrapper, so that nothing of
// the request stays with it (RFC 6455).
func hijack(w http.ResponseWriter, r *http.Request) (upgraded, error) {
	// The outermost writer first: it runs deferred header operations and is
	// what the access log sees.
	w.WriteHeader(http.StatusSwitchingProtocols)
	conn, rw, err := http.NewResponseController(innermost(w)).Hijack()
	if err != nil {
		return upgraded{}, err
	}
	letGo(w, r)
	_ = conn.SetDeadline(time.Time{})
	up := upgraded{conn: belowPreface(conn), detached: true}
	if n := rw.Reader.Buffered(); n > 0 {
		up.early = make([]byte, n)
		_, _ = io.ReadFull(rw.Reader, up.early)
	}
	return up, nil
}

// Interface guards
var (
	_ relay.Conn = (net.Conn)(nil)
	_ relay.Conn = tracedConn{}
)
