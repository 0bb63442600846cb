package caddyinsides

import (
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
)

// TestServerLoggersAreWhereTheyAreLookedFor tells of a Caddy that keeps them
// elsewhere.
func TestServerLoggersAreWhereTheyAreLookedFor(t *testing.T) {
	t.Parallel()
	if found, ok := Loggers(new(caddyhttp.Server)); !ok || len(found) != 0 {
		t.Errorf("a server without loggers: %d, %t", len(found), ok)
	}
	logger := zap.NewNop()
	found, ok := Loggers(&struct{ errorLogger, accessLogger *zap.Logger }{logger, logger})
	if !ok || len(found) != 2 || *found[0] != logger || *found[1] != logger {
		t.Errorf("a server with loggers: %v, %t", found, ok)
	}
	for name, server := range map[string]any{
		"one that has another name": &struct{ errorLogger, accessLog *zap.Logger }{},
		"one of another type": &struct {
			errorLogger  *zap.Logger
			accessLogger *zap.SugaredLogger
		}{},
	} {
		if _, ok := Loggers(server); ok {
			t.Errorf("%s: taken for one with loggers", name)
		}
	}
}

// TestConnectionOfATransportIsFoundBelowItsTimeouts with the timeouts that have
// Caddy wrap it.
func TestConnectionOfATransportIsFoundBelowItsTimeouts(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	transport := &reverseproxy.HTTPTransport{ReadTimeout: caddy.Duration(time.Minute)}
	if err := transport.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = transport.Cleanup() }()
	conn, err := transport.Transport.DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, plain := conn.(*net.TCPConn); plain {
		t.Fatal("Caddy does not wrap it: there is nothing to find")
	}
	below := BelowTimeouts(conn)
	if _, plain := below.(*net.TCPConn); !plain {
		t.Errorf("found %T", below)
	}
	if again := BelowTimeouts(below); again != below {
		t.Errorf("below a connection that is not wrapped is %T", again)
	}
}

// http2Conn has the name of a type of Caddy's, and is none.
type http2Conn struct{ net.Conn }

func TestConnectionsOfOthersAreLeftAsTheyAre(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	for name, conn := range map[string]net.Conn{"plain": near, "of the same name": &http2Conn{near}, "no pointer": http2Conn{near}} {
		if got := BelowPreface(conn); got != conn {
			t.Errorf("%s: found %T", name, got)
		}
	}
}

func TestLastOfCaddysWrappersIsFound(t *testing.T) {
	t.Parallel()
	server := httptest.NewRecorder()
	inner := caddyhttp.NewResponseRecorder(server, nil, nil)
	outer := &caddyhttp.ResponseWriterWrapper{ResponseWriter: inner}
	if last := LastWrapper(outer); last == nil || last.ResponseWriter != server {
		t.Errorf("found %v", last)
	}
	if last := LastWrapper(server); last != nil {
		t.Errorf("around the server's own writer is %v", last)
	}
}
