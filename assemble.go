package wsgateway

import (
	"errors"
	"net/http"
	"strings"

	"github.com/wsgateway/caddy-ws-gateway/internal/assembly"
	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// assemble puts the handlers of messages between the relay and the upstream, where there
// are any, and makes the answer of the upstream that of the gateway.
func (h *Handler) assemble(r *http.Request, who identity, got *connected, id string) *refusal {
	if h.messages == nil {
		return nil
	}
	res := got.answer.Res
	accepted, client := handshake.AcceptDeflate(r.Header)
	conn, err := assembly.New(assembly.Config{
		Upstream:     got.answer.Conn,
		Early:        got.answer.Early,
		Connection:   h.messageConnection(r, who, got, id),
		Chains:       h.messages.chains,
		Reporter:     h.messages.reporter,
		Client:       client,
		Server:       got.deflate,
		MessageSize:  h.messages.size,
		WriteTimeout: h.writeTimeout(),
	})
	got.answer.Conn, got.answer.Early, got.assembled = conn, nil, conn
	if err != nil {
		return h.handlerUnprepared(err, conn.Connection)
	}
	handshake.SetExtensions(res.Header, accepted)
	return nil
}

// handlerUnprepared is the refusal where a handler has failed for the connection already.
func (h *Handler) handlerUnprepared(err error, c *messages.Connection) *refusal {
	name := ""
	if failed, ok := errors.AsType[*assembly.OpenError](err); ok {
		name, err = failed.Handler, failed.Err
	}
	h.messages.reporter.Failed(c, messages.FromClient, name, err)
	return &refusal{status: http.StatusInternalServerError, result: resultUnavailable, reason: "the message handler " + name + " failed"}
}

func (h *Handler) messageConnection(r *http.Request, who identity, got *connected, id string) *messages.Connection {
	c := messages.Connection{
		ID:          id,
		Gateway:     h.name,
		UserID:      strings.Clone(userOf(r)),
		RemoteIP:    strings.Clone(clientIP(r)),
		Upstream:    got.address,
		Subprotocol: strings.Clone(who.fallbackProtocol),
	}
	if chosen := got.answer.Res.Header["Sec-Websocket-Protocol"]; len(chosen) > 0 {
		c.Subprotocol = strings.Clone(chosen[0])
	}
	return c.WithPlaceholders(h.messages.snapshot(r))
}

// finishAssembly lets go of what handlers keep for a connection that has not come about.
func (got *connected) finishAssembly() {
	if got.assembled != nil {
		got.assembled.Finish()
	}
}

// letGo lets go of an upstream that the client is not going to be connected with; nil is
// none.
func (got *connected) letGo() {
	if got == nil {
		return
	}
	defer got.lease.Release()
	defer got.finishAssembly()
	if got.answer.Conn != nil {
		_ = got.answer.Conn.Close()
	}
}

// bind has the handlers of messages end the connection by its relay.
func (got *connected) bind(r *relay.Relay) {
	if got.assembled != nil {
		got.assembled.Bind(r)
	}
}
