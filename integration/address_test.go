package integration

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// addressFields are those in which proxies and networks in front of a server tell it
// the address of a client, and in which a client may claim one.
var addressFields = []string{
	"X-Forwarded-For", "Forwarded", "X-Real-IP", "CF-Connecting-IP", "CF-Connecting-IPv6", "True-Client-IP", "Via",
	"X-Client-IP", "X-Cluster-Client-IP", "Fastly-Client-IP", "X-Azure-ClientIP", "X-Forwarded", "Forwarded-For",
	"X-Original-Forwarded-For", "X-Envoy-External-Address", "X-ProxyUser-Ip",
}

const claimedAddress = "203.0.113.7"

// claims has the claimed address in each of the fields, spelled as spell has it.
func claims(spell func(string) string) http.Header {
	header := http.Header{}
	for _, field := range addressFields {
		value := claimedAddress
		switch field {
		case "Forwarded":
			value = "for=" + claimedAddress + ";proto=https"
		case "Via":
			value = "1.1 " + claimedAddress
		}
		header[spell(field)] = []string{value}
	}
	return header
}

func asItIs(name string) string { return name }

// headsOf sends a handshake and a plain request with the header over HTTP/1.1, and
// returns how they came to the backend.
func headsOf(t *testing.T, g *gateway, b *backend, header http.Header) (handshake, plain string) {
	t.Helper()
	overWS.open(t, g, "/ws", header).finish(t)
	handshake = receive(t, "handshake", b.requests)
	conn := dialRaw(t, g)
	conn.send(t, plainHead(g, header))
	conn.rest(t)
	return handshake, receive(t, "plain request", b.requests)
}

// TestClaimedAddressIsNotTheClients has a client claim an address in every field in
// which proxies pass one on (S22).
func TestClaimedAddressIsNotTheClients(t *testing.T) {
	b := newBackend(t, echo)
	for _, row := range []struct {
		name, options, site string
		ip                  string
	}{
		{"no proxy is trusted", "", "ws_gateway %s", "127.0.0.1"},
		{"others are trusted", "servers {\n trusted_proxies static 192.0.2.0/24\n client_ip_headers CF-Connecting-IP X-Real-IP X-Forwarded-For\n }",
			"ws_gateway %s {\n trusted_proxies 192.0.2.0/24\n }", "127.0.0.1"},
		{"the client is trusted", "servers {\n trusted_proxies static 127.0.0.0/8\n client_ip_headers CF-Connecting-IP\n }",
			"ws_gateway %s", claimedAddress},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := startWith(t, row.options, fmt.Sprintf(row.site, b.addr))
			eachCarrier(t, func(t *testing.T, c carrier) {
				conn := c.open(t, g, "/ws", claims(asItIs))
				head := receive(t, "handshake", b.requests)
				got := strings.Join(headerLines(head, "X-Forwarded-For"), "|")
				if want := "127.0.0.1"; row.ip == want && got != want || !strings.HasSuffix(got, want) {
					t.Errorf("X-Forwarded-For at the backend is %q", got)
				}
				conn.finish(t)
			})
			eventually(t, "the closed lines", func() bool { return len(book.closedBy(b.addr)) == len(carriers) })
			for _, line := range slices.Concat(book.find(ourLogger, "opened"), book.closedBy(b.addr)) {
				if got := line.str("remote_ip"); got != row.ip {
					t.Errorf("logged with remote_ip %q, want %q: %s", got, row.ip, line.raw)
				}
			}
		})
	}
}

// TestClaimedAddressHasNoSeatOfItsOwn among those that connections_per_ip gives an
// address, whatever a client claims.
func TestClaimedAddressHasNoSeatOfItsOwn(t *testing.T) {
	b := newBackend(t, hold)
	g := start(t, "ws_gateway "+b.addr+" {\n name claimed\n limit {\n connections_per_ip 1\n }\n }")
	held := overWS.open(t, g, "/ws", nil)
	for _, field := range addressFields {
		t.Run(field, func(t *testing.T) {
			eachCarrier(t, func(t *testing.T, c carrier) {
				a := c.refused(t, g, "/ws", http.Header{field: claims(asItIs)[field]}, 429)
				if a.header.Get("Retry-After") == "" {
					t.Error("429 without Retry-After")
				}
			})
		})
	}
	held.finish(t)
}

// TestAddressFieldsOfHandshakesAreThoseOfRequests whether the gateway knows them or
// not: what reverse_proxy passes on, it passes on.
func TestAddressFieldsOfHandshakesAreThoseOfRequests(t *testing.T) {
	b := newBackend(t, echo)
	for _, options := range []string{"", "trusted_proxies 127.0.0.0/8"} {
		t.Run(options, func(t *testing.T) {
			g := start(t, "ws_gateway "+b.addr+" {\n "+options+"\n }\n handle /stock {\n reverse_proxy "+b.addr+" {\n "+options+"\n }\n }")
			handshake, plain := headsOf(t, g, b, claims(asItIs))
			conn := dialRaw(t, g)
			conn.send(t, strings.Replace(plainHead(g, claims(asItIs)), "/page", "/stock", 1))
			conn.rest(t)
			stock := receive(t, "a request of reverse_proxy", b.requests)
			for _, field := range addressFields {
				want := headerLines(stock, http.CanonicalHeaderKey(field))
				for kind, head := range map[string]string{"handshake": handshake, "plain request": plain} {
					if got := headerLines(head, http.CanonicalHeaderKey(field)); !slices.Equal(got, want) {
						t.Errorf("%s: %s is %q, and reverse_proxy's %q", kind, field, got, want)
					}
				}
			}
		})
	}
}

// TestAddressFieldsCanBeRemoved in every spelling that some backend takes for the field.
func TestAddressFieldsCanBeRemoved(t *testing.T) {
	b := newBackend(t, echo)
	var removed, underscores, dots []string
	spellings := map[string]func(string) string{
		"as it is":    asItIs,
		"lower case":  strings.ToLower,
		"upper case":  strings.ToUpper,
		"underscores": func(s string) string { return strings.ReplaceAll(s, "-", "_") },
		"dots":        func(s string) string { return strings.ReplaceAll(s, "-", ".") },
	}
	for _, field := range addressFields {
		removed = append(removed, "header_up -"+field)
		if spelled := spellings["underscores"](field); spelled != field {
			underscores = append(underscores, spelled)
			dots = append(dots, spellings["dots"](field))
		}
	}
	options := "servers {\n expected_underscore_headers X_Other " + strings.Join(underscores, " ") +
		"\n expected_dot_headers " + strings.Join(dots, " ") + "\n }"
	g := startWith(t, options, "ws_gateway "+b.addr+" {\n "+strings.Join(removed, "\n ")+"\n }")
	for name, spell := range spellings {
		t.Run(name, func(t *testing.T) {
			header := claims(spell)
			header["X_Other"] = []string{"let-through"}
			handshake, plain := headsOf(t, g, b, header)
			for kind, head := range map[string]string{"handshake": handshake, "plain request": plain} {
				if strings.Contains(head, claimedAddress) {
					t.Errorf("%s: the claimed address reached the backend:\n%s", kind, head)
				}
				if !strings.Contains(head, "let-through") {
					t.Errorf("%s: this proves nothing: Caddy itself dropped the underscore\n%s", kind, head)
				}
			}
		})
	}
}
