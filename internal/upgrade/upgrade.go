// Package upgrade takes the client's side of a connection over from the server, once
// an upstream has accepted the handshake: the raw connection over HTTP/1.1, and the
// request's stream over HTTP/2 and HTTP/3. From then on none of Caddy's wrappers around
// a request may touch the connection, above all none that sets deadlines.
//
// The package knows Caddy, because these wrappers are Caddy's.
package upgrade

import (
	"bufio"
	"io"
	"maps"
	"net"
	"net/http"
	"reflect"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/caddyinsides"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// Side is a client's side of a connection after its upgrade.
type Side struct {
	Conn     relay.Conn
	Early    []byte // what arrived behind the handshake
	Detached bool   // the connection is the gateway's, and the handler may return
	End      func() // to be called when the handler is about to return; nil for none
}

// Take answers the client and takes its side of the connection over. writeTimeout
// bounds the writing of the answer.
func Take(w http.ResponseWriter, r *http.Request, writeTimeout time.Duration) (Side, error) {
	if r.ProtoMajor == 1 {
		return hijack(w, r, writeTimeout)
	}
	return stream(w, r, writeTimeout)
}

// hijack takes the raw connection from below every wrapper, so that nothing of
// the request stays with it (RFC 6455), and answers there: by way of the server, the
// answer would be copied and written by a machinery for bodies.
func hijack(w http.ResponseWriter, r *http.Request, writeTimeout time.Duration) (Side, error) {
	server := Innermost(w)
	rc := http.NewResponseController(server)
	ours := isServers(server) && announce(w, r)
	if !ours {
		if err := answerThrough(w, rc, writeTimeout); err != nil {
			return Side{}, err
		}
	}
	conn, rw, err := rc.Hijack()
	if err != nil {
		if ours { // else the server would answer, with a 200
			clear(server.Header())
			server.WriteHeader(http.StatusInternalServerError)
		}
		return Side{}, err
	}
	taken := false
	defer func() { // also where something on the way panics: the server has let go of it
		if !taken {
			_ = conn.Close()
		}
	}()
	if !ours {
		letGo(w, r)
	} else if err := answer(conn, server.Header(), writeTimeout); err != nil {
		return Side{}, err
	}
	_ = conn.SetDeadline(time.Time{})
	up := sideOf(conn, rw.Reader)
	taken = true
	return up, nil
}

// sideOf is a connection from which something may have been read already.
func sideOf(conn net.Conn, read *bufio.Reader) Side {
	up := Side{Conn: caddyinsides.BelowPreface(conn), Detached: true}
	if n := read.Buffered(); n > 0 {
		up.Early = make([]byte, n)
		_, _ = io.ReadFull(read, up.Early)
	}
	return up
}

// announce tells every wrapper of the answer, the outermost first: it runs deferred
// header operations and is what the access log sees. Caddy's innermost wrapper lets go of
// the server's writer before that, so that the server hears nothing. It does nothing, and
// reports that, where the innermost wrapper is somebody else's.
func announce(w http.ResponseWriter, r *http.Request) (done bool) {
	_, wrapped := w.(interface{ Unwrap() http.ResponseWriter })
	if wrapped && caddyinsides.LastWrapper(w) == nil {
		return false
	}
	reaches := Innermost(w).Header()
	letGo(w, r)
	if wrapped {
		w.WriteHeader(http.StatusSwitchingProtocols)
	}
	if reaches["Upgrade"] == nil { // a wrapper with a header of its own has kept it for later
		maps.Copy(reaches, w.Header())
	}
	return true
}

// answerThrough answers by way of every wrapper, and of the server. A client that has left
// much unread of what it asked for before may not take the answer, and a hijack would not
// say so.
func answerThrough(w http.ResponseWriter, rc *http.ResponseController, writeTimeout time.Duration) error {
	w.WriteHeader(http.StatusSwitchingProtocols)
	_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	return rc.Flush()
}

// isServers reports whether a writer that says of nothing that it is around that is the
// server's own. Not every wrapper says what it is around.
func isServers(w http.ResponseWriter) bool {
	t := reflect.TypeOf(w)
	return t.Kind() == reflect.Pointer && t.Elem().PkgPath() == "net/http"
}

// Interface guards
var _ relay.Conn = (net.Conn)(nil)
