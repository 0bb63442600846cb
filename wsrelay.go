package wsgateway

import (
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// closeTimeout is what the two sides have to answer a close frame.
const closeTimeout = 3 * time.Second

// upgraded is a client's side after its upgrade.
type upgraded struct {
	conn     relay.Conn
	early    []byte // what arrived behind the handshake
	detached bool   // the connection is ours, and the handler may return
	end      func() // to be called when the handler is about to return; nil for none
}

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
	handshake.RemoveHopByHop(header)
	if ops := h.responseOps; ops != nil && (ops.Require == nil || ops.Require.Match(res.StatusCode, header)) {
		ops.ApplyTo(header, replacerOf(r))
	}
	handshake.RemoveNegotiated(header)

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
		out["Sec-Websocket-Accept"] = []string{handshake.Accept(strings.TrimSpace(r.Header.Get("Sec-Websocket-Key")))}
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
