package wsgateway

import (
	"net"
	"net/http"
	"reflect"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// stopClocks takes from a handshake the deadlines by which the server would end
// it, and the WebSocket that comes of it: over HTTP/1.1 and HTTP/2 they run on
// while an upstream is waited for, and over HTTP/2 and HTTP/3 for as long as the
// stream lives. The request has come in whole, an upstream has handshake_timeout,
// and Caddy still bounds each write of a refusal.
func stopClocks(w http.ResponseWriter, r *http.Request) {
	rd, wr := caddyhttp.IdleTimeoutsFromContext(r.Context())
	if rd != nil {
		rd.Deadline.HardDeadline = time.Time{}
	}
	if wr != nil {
		wr.Deadline.HardDeadline = time.Time{}
	}
	// By way of Caddy's own deadlines, which put theirs back otherwise. A server
	// that has none says so.
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Time{})
	_ = rc.SetWriteDeadline(time.Time{})
}

// innermost returns the server's own writer, below every wrapper.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		inner, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = inner.Unwrap()
	}
}

// letGo takes the connection from what Caddy keeps around the request. After the
// handler has returned, it flushes what took longer than the server's write
// timeout, and sets a deadline before that; but the connection is the relay's then,
// and net/http has no writer any more.
func letGo(w http.ResponseWriter, r *http.Request) {
	gone := hijackedWriter{w.Header()}
	if last := lastWrapper(w); last != nil {
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

// lastWrapper returns what Caddy's innermost wrapper keeps the server's own writer
// in; nil where there is none of Caddy's.
func lastWrapper(w http.ResponseWriter) *caddyhttp.ResponseWriterWrapper {
	last := reflect.Value{}
	for {
		inner, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		last = reflect.ValueOf(w)
		w = inner.Unwrap()
	}
	if last.Kind() != reflect.Pointer || last.Elem().Kind() != reflect.Struct {
		return nil
	}
	field := last.Elem().FieldByName("ResponseWriterWrapper")
	if field.Kind() == reflect.Struct {
		field = field.Addr()
	}
	if !field.IsValid() || !field.CanInterface() {
		return nil
	}
	wrapper, _ := reflect.TypeAssert[*caddyhttp.ResponseWriterWrapper](field)
	return wrapper
}

// hijackedWriter is what a writer is after a hijack. net/http's own is not safe to
// flush.
type hijackedWriter struct{ header http.Header }

// Header implements http.ResponseWriter, as do those below. Access logs show it.
func (w hijackedWriter) Header() http.Header { return w.header }

// WriteHeader does nothing: the answer has gone out.
func (hijackedWriter) WriteHeader(int) {}

// Write refuses.
func (hijackedWriter) Write([]byte) (int, error) { return 0, http.ErrHijacked }

// FlushError refuses, for http.ResponseController.
func (hijackedWriter) FlushError() error { return http.ErrHijacked }

// SetReadDeadline refuses, for the same.
func (hijackedWriter) SetReadDeadline(time.Time) error { return http.ErrHijacked }

// SetWriteDeadline refuses, for the same.
func (hijackedWriter) SetWriteDeadline(time.Time) error { return http.ErrHijacked }

// belowPreface returns what Caddy has wrapped where a server speaks HTTP/1.1 but
// not HTTP/2: it looks at the first bytes of a connection only, and they have
// been read. The relay needs the socket itself.
func belowPreface(c net.Conn) net.Conn {
	return unwrapped(c, reflect.TypeFor[caddyhttp.App]().PkgPath(), "http2Conn", "Conn")
}

// unwrapped returns what a connection of the type has in a field, and every other
// connection as it is. These are types of Caddy's that have no method for it.
func unwrapped(c net.Conn, pkgPath, typeName, field string) net.Conn {
	wrapper := reflect.ValueOf(c)
	if wrapper.Kind() != reflect.Pointer || wrapper.Elem().Kind() != reflect.Struct {
		return c
	}
	if t := wrapper.Type().Elem(); t.Name() != typeName || t.PkgPath() != pkgPath {
		return c
	}
	if inner := wrapper.Elem().FieldByName(field); inner.IsValid() && inner.CanInterface() {
		if conn, ok := reflect.TypeAssert[net.Conn](inner); ok {
			return conn
		}
	}
	return c
}
