package integration

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestForwardedCredentialIsSentWhereItCameAndNoOther sends the credential that
// decides by one carrier, and another by all the others.
func TestForwardedCredentialIsSentWhereItCameAndNoOther(t *testing.T) {
	b := newBackend(t, echo)
	other := spelling{query: "access_token=" + smuggledToken, lines: []string{
		"Authorization: Bearer " + smuggledToken, "X-Api-Key: " + smuggledToken, "X-Auth: token " + smuggledToken,
		"Cookie: session_id=" + smuggledToken, "Sec-WebSocket-Protocol: bearer, " + smuggledToken + ", k8s.io." + b64([]byte(smuggledToken)) + ", chat",
	}}
	wants := map[string]string{
		"token header":                        "Authorization: Bearer " + goodToken,
		"token header X-Api-Key":              "X-Api-Key: " + goodToken,
		"token header X-Auth Token":           "X-Auth: token " + goodToken,
		"token cookie session_id":             "session_id=" + goodToken,
		"token query access_token":            "access_token=" + goodToken,
		"token subprotocol":                   "Sec-Websocket-Protocol: bearer, " + goodToken,
		"token subprotocol my.Marker":         "Sec-Websocket-Protocol: my.Marker." + goodToken + ", chat",
		"token subprotocol k8s.io. base64url": "Sec-Websocket-Protocol: chat, k8s.io." + b64([]byte(goodToken)),
	}
	for i, decides := range carrierWords {
		words := []string{decides.word}
		for _, o := range slices.Delete(slices.Clone(carrierWords), i, i+1) {
			words = append(words, o.word)
		}
		t.Run(decides.word, func(t *testing.T) {
			g := startWith(t, "debug", fmt.Sprintf("ws_gateway %s {\n auth {\n forward\n %s\n bearer %s alice\n }\n origins any\n }",
				b.addr, strings.Join(words, "\n"), goodToken))
			lines := other.lines
			query := other.query
			if strings.Contains(decides.word, "subprotocol") { // one offer: who comes first decides
				lines = lines[:len(lines)-1]
			}
			if strings.Contains(decides.word, "query") {
				query = decides.carry.query + "&" + query
			}
			for _, seen := range sendBoth(t, g, b, query, append(slices.Clone(decides.carry.lines), lines...)) {
				seen = strings.ReplaceAll(seen, "Sec-WebSocket-Protocol", "Sec-Websocket-Protocol")
				if strings.Count(seen, goodToken)+strings.Count(seen, b64([]byte(goodToken))) != 1 || !strings.Contains(seen, wants[decides.word]) {
					t.Errorf("want %q and no more in\n%s", wants[decides.word], seen)
				}
				if strings.Contains(seen, "malloryz") || strings.Contains(seen, b64([]byte("malloryz"))[:10]) {
					t.Errorf("the upstream was sent another's\n%s", seen)
				}
			}
			for _, line := range book.find("", "") { // Caddy's own logs of requests aside
				if strings.Contains(line.raw, goodToken) && !strings.HasPrefix(line.str("logger"), "http.log") {
					t.Errorf("the token is in %s", line.raw)
				}
			}
		})
	}
}

// sendBoth sends a handshake and a plain request, and returns what the backend
// saw of each.
func sendBoth(t *testing.T, g *gateway, b *backend, query string, head []string) []string {
	t.Helper()
	head = append([]string{"Host: " + g.httpAddr}, head...)
	a := rawWS(t, g, lines(append([]string{"GET /ws?" + query + "&kept=1 HTTP/1.1", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + clientKey}, head...)...))
	if a.conn == nil {
		t.Fatalf("status %d", a.status)
	}
	a.conn.finish(t)
	shake := receive(t, "handshake", b.requests)
	raw := dialRaw(t, g)
	raw.send(t, lines(append([]string{"GET /page?" + query + "&kept=1 HTTP/1.1", "Connection: close"}, head...)...))
	if answer := raw.rest(t); !strings.HasPrefix(answer, "HTTP/1.1 200") {
		t.Fatalf("a plain request was answered %q", answer)
	}
	return []string{shake, receive(t, "plain request", b.requests)}
}

// TestForwardedCredentialOfSeveral is the one that was good, as it came.
func TestForwardedCredentialOfSeveral(t *testing.T) {
	b := newBackend(t, echo)
	const token = "a/token+with=signs"
	g := start(t, fmt.Sprintf("ws_gateway %s {\n auth {\n forward\n token cookie session\n token query t\n bearer %q\n }\n origins any\n header_up X-Auth {http.request.header.Cookie}\n }", b.addr, token))
	for _, seen := range sendBoth(t, g, b, "t=x", []string{`Cookie: a=1; session=bad; session="a%2Ftoken%2Bwith%3Dsigns"; session=worse`, "Cookie: b=2"}) {
		if cookies := strings.Join(headerLines(seen, "Cookie"), "; "); cookies != `a=1; b=2; session="a%2Ftoken%2Bwith%3Dsigns"` {
			t.Errorf("the upstream was sent the cookies %q", cookies)
		}
		if strings.Contains(strings.Join(headerLines(seen, "X-Auth"), ""), "token") || strings.Contains(seen, "t=x&") {
			t.Errorf("the upstream was sent\n%s", seen)
		}
	}
	for _, seen := range sendBoth(t, g, b, "t=a/token+with%3dsigns&t=y", nil) {
		if !strings.Contains(seen, "?kept=1&t=a/token+with%3dsigns ") {
			t.Errorf("the upstream was sent\n%s", seen)
		}
	}
}

// TestForwardLeavesTheLastWordToHeaderOperations and to no client.
func TestForwardLeavesTheLastWordToHeaderOperations(t *testing.T) {
	b := newBackend(t, echo)
	for ops, want := range map[string]string{
		"header_up Authorization \"Basic Z2F0ZXdheQ==\"": "Basic Z2F0ZXdheQ==",
		"header_up -Authorization":                       "",
		"header_up X-Other 1":                            "Basic YTpi|Bearer " + goodToken,
	} {
		g := start(t, fmt.Sprintf("ws_gateway %s {\n auth {\n forward\n bearer %s alice\n }\n %s\n }", b.addr, goodToken, ops))
		for _, seen := range sendBoth(t, g, b, "", []string{"Authorization: Basic YTpi", "Authorization: Bearer " + goodToken}) {
			if got := strings.Join(headerLines(seen, "Authorization"), "|"); got != want {
				t.Errorf("%s: the upstream was sent %q, want %q", ops, got, want)
			}
		}
	}
}

// TestForwardedCredentialOfOthers is that of a handler in front, beside which a
// token of ours is removed.
func TestForwardedCredentialOfOthers(t *testing.T) {
	b := newBackend(t, echo)
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("alice:secret"))
	g := start(t, fmt.Sprintf("basic_auth {\n alice %s\n }\n ws_gateway %s {\n auth {\n forward\n inherit\n token query t\n bearer %s\n }\n origins any\n }",
		bcryptOfSecret, b.addr, goodToken))
	for _, query := range []string{"", "t="} {
		for _, seen := range sendBoth(t, g, b, query, []string{"Authorization: " + basic}) {
			if got := headerLines(seen, "Authorization"); !slices.Equal(got, []string{basic}) || strings.Contains(seen, "?t=") {
				t.Errorf("the upstream was sent %q in\n%s", got, seen)
			}
		}
	}
	for _, seen := range sendBoth(t, g, b, "t="+goodToken, []string{"Authorization: " + basic}) {
		if got := headerLines(seen, "Authorization"); len(got) > 0 || !strings.Contains(seen, "t="+goodToken) {
			t.Errorf("where a token of ours decided, the upstream was sent %q in\n%s", got, seen)
		}
	}
}

// TestUpstreamThatSelectsAForwardedTokenIsNotBelieved, or it would be in the
// answer and in logs.
func TestUpstreamThatSelectsAForwardedTokenIsNotBelieved(t *testing.T) {
	for offer, want := range map[string]string{
		"bearer, " + subprotocolSafe:              "bearer",
		"bearer, " + subprotocolSafe + ", chat":   "chat",
		"chat, Bearer." + subprotocolSafe + ", x": "chat",
	} {
		selected := subprotocolSafe
		if strings.Contains(offer, "Bearer.") {
			selected = "Bearer." + subprotocolSafe
		}
		b := newBackend(t, answering("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: "+selected+"\r\n\r\n"))
		g := start(t, fmt.Sprintf("ws_gateway %s {\n auth {\n forward\n token subprotocol\n bearer %s alice\n }\n }", b.addr, subprotocolSafe))
		eachCarrier(t, func(t *testing.T, c carrier) {
			conn := c.open(t, g, "/ws", http.Header{"Sec-WebSocket-Protocol": {offer}})
			if got := conn.header["Sec-Websocket-Protocol"]; !slices.Equal(got, []string{want}) {
				t.Errorf("offered %q, the client was told %q, want %q", offer, got, want)
			}
			head := receive(t, "handshake", b.requests)
			if got := strings.Join(headerLines(head, "Sec-WebSocket-Protocol"), "|"); got != offer {
				t.Errorf("the upstream was offered %q, want %q", got, offer)
			}
		})
		for _, line := range book.find("", "") {
			if strings.Contains(line.raw, subprotocolSafe) && line.str("logger") == ourLogger {
				t.Errorf("the token is in %s", line.raw)
			}
		}
	}
}

// TestForwardedTokenIsForgottenAfterARefusal: error routes may lead elsewhere.
func TestForwardedTokenIsForgottenAfterARefusal(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, fmt.Sprintf(`ws_gateway /ws 127.0.0.1:1 {
		auth {
			forward
			token header
			token query t
			jwt {
				key %q
				require scope chat
			}
		}
	}
	handle_errors {
		reverse_proxy %s
	}`, jwtSecret, b.addr))
	for _, token := range []string{tokenFor("alice", time.Hour, `"scope":"chat"`), tokenFor("alice", time.Hour), tokenFor("alice", -time.Hour)} {
		for _, send := range []func(){
			func() { g.get(t, "/ws?t=x", bearer(token)) }, func() { g.get(t, "/ws?t="+token, nil) },
			func() { overWS.do(t, g, "/ws?t=x", bearer(token)) },
		} {
			send()
			if head := receive(t, "error page", b.requests); strings.Contains(head, token) || strings.Contains(head, "t=") {
				t.Errorf("an error route was sent\n%s", head)
			}
		}
	}
}
