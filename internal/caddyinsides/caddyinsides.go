// Package caddyinsides reaches what Caddy has and does not export, where the gateway
// cannot do without. Nobody promised any of it: it is looked for by its name and
// its type when it is needed, and where a version of Caddy has it otherwise, the
// package finds nothing, which its tests tell.
//
// It knows Caddy, and is one package so that it is one list of what to look at when
// Caddy changes.
package caddyinsides

import (
	"net"
	"net/http"
	"reflect"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
)

// BelowPreface returns what Caddy has wrapped where a server speaks HTTP/1.1 but
// not HTTP/2: it looks at the first bytes of a connection only, and they have
// been read, while the relay needs the socket itself. Every other connection is
// returned as it is.
func BelowPreface(c net.Conn) net.Conn {
	return unwrapped(c, reflect.TypeFor[caddyhttp.App]().PkgPath(), "http2Conn", "Conn")
}

// BelowTimeouts returns what the transport of reverse_proxy has wrapped to give each
// read and write of a connection a deadline, and every other connection as it is.
func BelowTimeouts(c net.Conn) net.Conn {
	return unwrapped(c, reflect.TypeFor[reverseproxy.HTTPTransport]().PkgPath(), "tcpRWTimeoutConn", "TCPConn")
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

// LastWrapper returns what Caddy's innermost wrapper keeps the server's own writer
// in; nil where there is none of Caddy's.
func LastWrapper(w http.ResponseWriter) *caddyhttp.ResponseWriterWrapper {
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

// Loggers returns where a server keeps the loggers for requests, of which it may
// have none for access. They are set when its handlers are provisioned, and first
// used after that. It reports whether they are to be had.
func Loggers(server any) (loggers []**zap.Logger, ok bool) {
	for _, name := range [...]string{"accessLogger", "errorLogger"} {
		field := reflect.ValueOf(server).Elem().FieldByName(name)
		if !field.IsValid() || field.Type() != reflect.TypeFor[*zap.Logger]() {
			return nil, false
		}
		if logger := (**zap.Logger)(field.Addr().UnsafePointer()); *logger != nil {
			loggers = append(loggers, logger)
		}
	}
	return loggers, true
}
