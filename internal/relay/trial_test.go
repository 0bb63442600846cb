package relay

import (
	"bytes"
	"crypto/tls"
	"net"
	"reflect"
	"strings"
	"testing"
)

func TestThisTLSIsKnown(t *testing.T) {
	t.Parallel()
	if err := tlsTrouble(); err != nil {
		t.Fatalf("the relay leaves TLS to goroutines, and keeps old configurations in memory: %v", err)
	}
}

func TestLayoutNeedsEveryFieldByNameAndType(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		in   reflect.Type
		want string // of the error
	}{
		"renamed": {reflect.TypeFor[struct {
			conn     net.Conn
			incoming bytes.Buffer
			input    bytes.Reader
			hand     bytes.Buffer
			config   *tls.Config
		}](), "no field rawInput of type bytes.Buffer"},
		"of another type": {reflect.TypeFor[struct {
			conn     net.Conn
			rawInput bytes.Buffer
			input    []byte
			hand     bytes.Buffer
			config   *tls.Config
		}](), "no field input of type bytes.Reader"},
		"moved": {reflect.TypeFor[struct {
			conn     net.Conn
			rawInput bytes.Buffer
			input    bytes.Reader
			hand     bytes.Buffer
			layered
		}](), "no field config of type *tls.Config"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at, err := findLayout(row.in)
			if err == nil || !strings.Contains(err.Error(), row.want) || at != (layout{}) {
				t.Errorf("got %+v, %v, want %q", at, err, row.want)
			}
		})
	}
}

// TestPanicInATrialIsItsError has crypto/tls panic at either end, one of which has a
// goroutine of its own.
func TestPanicInATrialIsItsError(t *testing.T) {
	t.Parallel()
	boom := func(tls.ConnectionState) error { panic("a secret") }
	for name, row := range map[string]struct {
		server, client func(tls.ConnectionState) error
	}{
		"server": {server: boom},
		"client": {client: boom},
		"both":   {boom, boom},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			there, back := newDirection(), newDirection()
			serverEnd, clientEnd := &wire{in: there, out: back}, &wire{in: back, out: there}
			serverEnd.Conn, clientEnd.Conn = net.Pipe()
			err := shakeHands(
				tls.Server(serverEnd, &tls.Config{Certificates: []tls.Certificate{certificate(t)}, VerifyConnection: row.server}),
				tls.Client(clientEnd, &tls.Config{InsecureSkipVerify: true, VerifyConnection: row.client}))
			if err == nil || !strings.Contains(err.Error(), "crypto/tls panics: a value of type string") || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// layered is what part of a tls.Conn might become.
type layered struct{ config *tls.Config } //nolint:unused // reflect looks for it

func TestUnknownTLSKeepsItsConfiguration(t *testing.T) {
	t.Parallel()
	f := onTLS(t, Config{})
	for name, row := range map[string]struct{ known, keeps bool }{
		"unknown": {false, true},
		"known":   {true, false},
	} {
		client := f.Relay.client.conn.(*tls.Conn)
		settings := inside[*tls.Config](client, insides.settings)
		before := *settings
		forgetSettings(client, func() bool { return row.known })
		if kept := *settings == before; kept != row.keeps {
			t.Errorf("%s: kept its configuration: %v", name, kept)
		}
		*settings = before
	}
}
