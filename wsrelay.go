package wsgateway

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
)

// closeTimeout is how long each side may take to answer a close frame.
const closeTimeout = 3 * time.Second

// answerHeader makes the header of the client's 101 (or 200) from the verified
// answer of the upstream, after the header operations. fallback is the subprotocol
// to select where the upstream selected none.
func answerHeader(w http.ResponseWriter, r *http.Request, res *http.Response, fallback string, ops *headers.RespHeaderOps) (subprotocol string) {
	header := res.Header
	extensions := header["Sec-Websocket-Extensions"]
	if protocols := header["Sec-Websocket-Protocol"]; len(protocols) > 0 {
		subprotocol = protocols[0]
	} else {
		subprotocol = fallback
	}
	handshake.RemoveHopByHop(header)
	if ops != nil && (ops.Require == nil || ops.Require.Match(res.StatusCode, header)) {
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
		values := [...]string{"websocket", "Upgrade", handshake.Accept(strings.TrimSpace(r.Header.Get("Sec-Websocket-Key")))}
		out["Upgrade"] = values[0:1:1]
		out["Connection"] = values[1:2:2]
		out["Sec-Websocket-Accept"] = values[2:3:3]
	}
	return subprotocol
}
