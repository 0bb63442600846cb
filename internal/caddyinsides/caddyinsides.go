// Package caddyinsides reaches parts of Caddy that Caddy does not export and the
// gateway cannot do without. Caddy promises none of them: the package looks for each
// by its name and its type when it is needed, and finds nothing where a version of
// Caddy has it otherwise. The tests of the package tell of that.
//
// The package knows Caddy. It is one package so that it is one list of what to look
// at when Caddy changes.
package caddyinsides

import (
	"net"
	"net/http"
	"reflect"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
)

// BelowPreface returns the connection below the wrapper that Caddy puts around it
// where a server speaks HTTP/1.1 but not HTTP/2, and any other connection as it is.
// The wrapper looks at the first bytes only, which have been read by then, and the
// relay needs the socket itself.
func BelowPreface(c net.Conn) net.Conn {
	return unwrapped(c, reflect.TypeFor[caddyhttp.App]().PkgPath(), "http2Conn", "Conn")
}

// BelowTimeouts returns the connection below the wrapper by which the transport of
// reverse_proxy gives each read and write a deadline, and any other connection as it
// is.
func BelowTimeouts(c net.Conn) net.Conn {
	return unwrapped(c, reflect.TypeFor[reverseproxy.HTTPTransport]().PkgPath(), "tcpRWTimeoutConn", "TCPConn")
}

// unwrapped returns the connection in a field of a wrapper of the type, and any other
// connection as it is. It is for wrappers of Caddy's that have no method for that.
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

// LastWrapper returns the part of Caddy's innermost wrapper that holds the server's
// own writer; nil where the innermost wrapper is not Caddy's.
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

// Loggers returns where a server keeps its access logger, if it has one, and its error
// logger. Both are set when the server's handlers are provisioned, and are first used
// after that. ok is false where this version of Caddy does not have them there.
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
