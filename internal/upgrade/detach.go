package upgrade

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/wsgateway/caddy-ws-gateway/internal/caddyinsides"
)

// StopClocks takes from a handshake the deadlines by which the server would end
// it, and the WebSocket that comes of it: over HTTP/1.1 and HTTP/2 they run on
// while an upstream is waited for, and over HTTP/2 and HTTP/3 for as long as the
// stream lives. The request has come in whole, an upstream has handshake_timeout,
// and Caddy still bounds each write of a refusal.
func StopClocks(w http.ResponseWriter, r *http.Request) {
	rd, wr := caddyhttp.IdleTimeoutsFromContext(r.Context())
	if rd != nil {
		rd.Deadline.HardDeadline = time.Time{}
	}
	if wr != nil {
		wr.Deadline.HardDeadline = time.Time{}
	}
	// By way of Caddy's own deadlines, because Caddy would set them again
	// otherwise. A server without them returns an error.
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Time{})
	_ = rc.SetWriteDeadline(time.Time{})
}

// StopClocksOfAnswer does the same for an answer that lasts. What is still to come of its
// request has its own deadline, under which another goroutine may be reading it.
func StopClocksOfAnswer(w http.ResponseWriter, r *http.Request) {
	rd, wr := caddyhttp.IdleTimeoutsFromContext(r.Context())
	if rd == nil || r.ContentLength == 0 {
		StopClocks(w, r)
		return
	}
	if wr != nil {
		wr.Deadline.HardDeadline = time.Time{}
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
}

// Innermost returns the server's own writer, below every wrapper. Only its deadlines may be
// set from another goroutine: Caddy's wrappers remember them.
func Innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		inner, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = inner.Unwrap()
	}
}

// letGo takes the connection from the writers that Caddy keeps around the request.
// After the handler has returned, Caddy flushes an answer that took longer than the
// server's write timeout, and sets a deadline before that; but the connection is the
// relay's then, and net/http has no writer any more.
func letGo(w http.ResponseWriter, r *http.Request) {
	gone := hijackedWriter{Innermost(w).Header()}
	if last := caddyinsides.LastWrapper(w); last != nil {
		last.ResponseWriter = gone
	}
	rd, wr := caddyhttp.IdleTimeoutsFromContext(r.Context())
	if rd != nil {
		rd.Ctrl = http.NewResponseController(gone)
	}
	if wr != nil {
		wr.Ctrl = http.NewResponseController(gone)
	}
}

// hijackedWriter takes the place of the server's writer after a hijack, because
// net/http's own is not safe to flush then.
type hijackedWriter struct{ header http.Header }

// Header implements http.ResponseWriter. Access logs show what it returns.
func (w hijackedWriter) Header() http.Header { return w.header }

// WriteHeader does nothing: the answer has gone out.
func (hijackedWriter) WriteHeader(int) {}

// Write refuses.
func (hijackedWriter) Write([]byte) (int, error) { return 0, http.ErrHijacked }

// FlushError refuses, for http.ResponseController.
func (hijackedWriter) FlushError() error { return http.ErrHijacked }

// SetReadDeadline refuses, for http.ResponseController.
func (hijackedWriter) SetReadDeadline(time.Time) error { return http.ErrHijacked }

// SetWriteDeadline refuses, for http.ResponseController.
func (hijackedWriter) SetWriteDeadline(time.Time) error { return http.ErrHijacked }
