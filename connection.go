package wsgateway

import (
	"net/http"
	"time"
	"weak"

	"github.com/quic-go/quic-go/http3"

	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

// place is where a connection counts: at its upstream and among those of its client.
type place struct {
	lease   *balance.Lease
	seat    *admission.Seat
	address string // of the upstream
}

// detail describes a connection without holding on to the request or the configuration.
func (h *Handler) detail(r *http.Request, id string, at place) live.Details {
	user := userOf(r)
	text := id + user + clientIP(r) // one piece of memory, and not the request's
	details := live.Details{
		ID:          text[:len(id)],
		Gateway:     h.name,
		UserID:      text[len(id):][:len(user)],
		RemoteIP:    text[len(id)+len(user):],
		Proto:       protoOf(r),
		Upstream:    at.address,
		OpenedAt:    time.Now(),
		DrainPeriod: h.drainPeriod(),
		EarlyClose:  h.earlyClose(),
		Lease:       at.lease,
		Seat:        at.seat,
	}
	if h.MaxAge != nil {
		details.TooOld = details.OpenedAt.Add(h.MaxAge.draw())
	}
	if server, ok := r.Context().Value(http3.ServerContextKey).(*http3.Server); ok {
		details.Server = quicServer{weak.Make(server)}
	}
	return details
}

// quicServer is an HTTP/3 server for as long as there is one. An earlier configuration
// has its own.
type quicServer struct{ weak.Pointer[http3.Server] }

// Gone implements live.Server.
func (s quicServer) Gone() bool { return s.Value() == nil }

// Close implements live.Server.
func (s quicServer) Close() error {
	if server := s.Value(); server != nil {
		return server.Close()
	}
	return nil
}

func (h *Handler) earlyClose() live.EarlyClose {
	if h.EarlyCloseCount == 0 {
		return live.EarlyClose{}
	}
	return live.EarlyClose{
		Window:       orDefault(h.EarlyCloseWindow, defaultEarlyCloseWindow),
		FailDuration: time.Duration(h.Proxy.HealthChecks.Passive.FailDuration),
	}
}
