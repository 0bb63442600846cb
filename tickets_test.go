package wsgateway

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
)

// scriptedKeys is a source of keys that says what a test wants.
type scriptedKeys struct {
	first   [][32]byte
	fails   error
	changed chan [][32]byte
	done    <-chan struct{}
}

func (s *scriptedKeys) Initialize(*caddytls.SessionTicketService) ([][32]byte, error) {
	return s.first, s.fails
}

func (s *scriptedKeys) Next(done <-chan struct{}) <-chan [][32]byte {
	s.done = done
	return s.changed
}

// ended reports whether the source was told to clean up.
func (s *scriptedKeys) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// aSession is the smallest that crypto/tls parses, of TLS 1.3.
const aSession = "\x03\x04" + "\x01" + "\x13\x01" + "\x00\x00\x00\x00\x00\x00\x00\x00" + "\x01k" +
	"\x00\x00\x00" + "\x00\x00" + "\x00\x00\x00" + "\x00\x00\x00"

// ticketOf is a ticket that a server makes.
func ticketOf(t *testing.T, server *tls.Config) []byte {
	t.Helper()
	session, err := tls.ParseSessionState([]byte(aSession))
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := server.EncryptTicket(tls.ConnectionState{}, session)
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

// takes reports whether a server takes a ticket.
func takes(t *testing.T, server *tls.Config, ticket []byte) bool {
	t.Helper()
	state, err := server.DecryptTicket(ticket, tls.ConnectionState{})
	if err != nil {
		t.Fatal(err)
	}
	return state != nil
}

// takesTicketOf reports whether a server takes a ticket that was made with a key.
func takesTicketOf(t *testing.T, key [32]byte, server *tls.Config) bool {
	t.Helper()
	maker := new(tls.Config)
	maker.SetSessionTicketKeys([][32]byte{key})
	return takes(t, server, ticketOf(t, maker))
}

func TestServersUseTheKeysOfTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two, three := [32]byte{1}, [32]byte{2}, [32]byte{3}
		source := &scriptedKeys{first: [][32]byte{one}, changed: make(chan [][32]byte)}
		servers := []*tls.Config{{}, {}} // #nosec G402 -- they serve nobody
		expect := func(want ...[32]byte) {
			t.Helper()
			for _, key := range [][32]byte{one, two, three} {
				for i, server := range servers {
					if took := takesTicketOf(t, key, server); took != slices.Contains(want, key) {
						t.Errorf("server %d takes tickets of key %d: %t", i, key[0], took)
					}
				}
			}
		}
		k := &ticketKeys{source: source}
		k.stop() // nothing has started
		if err := k.supply(servers); err != nil {
			t.Fatal(err)
		}
		expect(one)
		source.changed <- [][32]byte{two, one}
		synctest.Wait()
		expect(two, one)
		source.changed <- [][32]byte{three, two}
		synctest.Wait()
		expect(three, two)
		if source.ended() {
			t.Error("the source was ended early")
		}
		k.stop()
		k.stop()
		if !source.ended() {
			t.Error("the source was not ended")
		}
	})
}

func TestSourceOfTicketKeysThatFailsIsAnError(t *testing.T) {
	for _, row := range []struct {
		name, want string
		source     scriptedKeys
		ends       bool
	}{
		{"no storage", "no storage", scriptedKeys{fails: errors.New("no storage")}, false},
		{"no keys", "no keys", scriptedKeys{}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			k := &ticketKeys{source: &row.source}
			server := new(tls.Config)
			if err := k.supply([]*tls.Config{server}); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got the error %v, want %q", err, row.want)
			}
			k.stop()
			if row.source.done != nil && !row.source.ended() || (row.source.done != nil) != row.ends {
				t.Error("the source was not ended, or begun after it had failed")
			}
		})
	}
}

func TestSessionTicketsAreCheckedBeforeTheyAreUsed(t *testing.T) {
	prepareValidation(t)
	for _, row := range []struct{ apps, fails string }{
		{`"ws_gateway":{"session_tickets":{"provider":"standard"}}`, ""},
		{`"ws_gateway":{"session_tickets":{"provider":"distributed"}},"tls":{}`, ""},
		{`"ws_gateway":{"session_tickets":{"provider":"shared"}}`, "session_tickets: "},
		{`"ws_gateway":{"session_tickets":{}}`, "session_tickets: "},
		{`"ws_gateway":{"session_tickets":{"provider":"standard"}},"tls":{"session_tickets":{}}`, "the app tls has its own"},
		{`"ws_gateway":{"session_tickets":{"provider":"standard"}},"tls":{"session":{}}`, `"session"`},
	} {
		config := new(caddy.Config)
		if err := json.Unmarshal([]byte(`{"apps":{`+row.apps+`}}`), config); err != nil {
			t.Fatal(err)
		}
		err := caddy.Validate(config)
		if row.fails == "" && err != nil || row.fails != "" && (err == nil || !strings.Contains(err.Error(), row.fails)) {
			t.Errorf("%s: got the error %v, want %q", row.apps, err, row.fails)
		}
	}
}

// secureServers are servers as they are once Caddy has provisioned them.
func secureServers(n int) (servers []*caddyhttp.Server, settings []*tls.Config) {
	for range n {
		of := new(tls.Config) // #nosec G402 -- it serves nobody
		settings = append(settings, of)
		servers = append(servers, &caddyhttp.Server{TLSConnPolicies: caddytls.ConnectionPolicies{{TLSConfig: of}}})
	}
	return servers, settings
}

// TestServersOfAConfigurationHaveOneSourceOfKeys, since each of Caddy's has the process
// forget a key whenever it makes one.
func TestServersOfAConfigurationHaveOneSourceOfKeys(t *testing.T) {
	ctx, err := caddy.ProvisionContext(new(caddy.Config))
	if err != nil {
		t.Fatal(err)
	}
	events, err := ctx.App("events")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		servers, settings := secureServers(3)
		for _, server := range servers {
			for range 2 { // gateways
				giveBack, err := keepTickets(ctx.WithValue(caddyhttp.ServerCtxKey, server))
				if err != nil {
					t.Fatal(err)
				}
				defer giveBack()
			}
		}
		kept, ok := ticketed.Load(events)
		if !ok {
			t.Fatal("the servers have nothing in common")
		}
		one, two := [32]byte{1}, [32]byte{2}
		source := &scriptedKeys{first: [][32]byte{one}, changed: make(chan [][32]byte)}
		kept.(*keptTickets).keys.source = source
		expect := func(want [32]byte) {
			t.Helper()
			for i, server := range settings {
				if !takesTicketOf(t, want, server) {
					t.Errorf("server %d does not take tickets of key %d", i, want[0])
				}
			}
		}
		events.(*caddyevents.App).Emit(ctx, "started", nil)
		expect(one)
		source.changed <- [][32]byte{two, one}
		synctest.Wait()
		expect(one)
		expect(two)
	})
}
