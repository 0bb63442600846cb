package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// spelling is a way to put a token where an upstream may read it: header lines,
// or a part of the query.
type spelling struct {
	query string
	lines []string
}

const (
	goodToken     = "good-token-of-alice-7"
	smuggledToken = "malloryz.token-of-hers"
)

// carrierWords are the carriers of the table, with how the good token comes in
// each.
var carrierWords = []struct {
	word  string
	carry spelling
}{
	{"token header", spelling{lines: []string{"Authorization: Bearer " + goodToken}}},
	{"token header X-Api-Key", spelling{lines: []string{"X-Api-Key: " + goodToken}}},
	{"token header X-Auth Token", spelling{lines: []string{"X-Auth: token " + goodToken}}},
	{"token cookie session_id", spelling{lines: []string{"Cookie: session_id=" + goodToken}}},
	{"token query access_token", spelling{query: "access_token=" + goodToken}},
	{"token subprotocol", spelling{lines: []string{"Sec-WebSocket-Protocol: bearer, " + goodToken}}},
	{"token subprotocol my.Marker", spelling{lines: []string{"Sec-WebSocket-Protocol: my.Marker." + goodToken + ", chat"}}},
	{"token subprotocol k8s.io. base64url", spelling{lines: []string{"Sec-WebSocket-Protocol: chat, k8s.io." + b64([]byte(goodToken))}}},
}

// spellings are those in which %T may be read from one of the carriers, by us or by
// some server behind.
var spellings = []spelling{
	{lines: []string{"Authorization: Bearer %T"}},
	{lines: []string{"authorization: bEARER\t %T "}},
	{lines: []string{"Authorization: Basic YTpi", "Authorization: Bearer %T", "Authorization: BEARER %T"}},
	{lines: []string{"Authorization: Basic YTpi, Bearer %T"}},
	{lines: []string{"X-Api-Key: %T"}}, {lines: []string{"x-api-key:   %T", "X-API-KEY: %T"}},
	{lines: []string{"X_Api_Key: %T"}}, {lines: []string{"x.api.key: %T"}}, {lines: []string{"X-Api_Key: %T"}},
	{lines: []string{"X-Auth: Token %T"}}, {lines: []string{"X-Auth: other x", "X-Auth: TOKEN  %T"}}, {lines: []string{"X_Auth: token %T"}},
	{lines: []string{"Cookie: session_id=%T"}}, {lines: []string{`Cookie: a=1;session_id="%T"`}},
	{lines: []string{"Cookie: session_id=%T; session_id=%T", "Cookie: b=2; session_id=%T"}},
	{lines: []string{"Cookie: Session_ID=%T"}}, {lines: []string{"Cookie:  session_id =%T ; a=1"}},
	{lines: []string{"Cookie: session%5Fid=%T"}}, {lines: []string{"Cookie: session.id=%T"}},
	{lines: []string{"Cookie: a=1, session_id=%T"}}, {lines: []string{"Cookie: session_id=a,%T"}}, {lines: []string{"Cookie: session_id[]=%T"}},
	{query: "access_token=%T"}, {query: "a=1&access_token=%T&b=2"}, {query: "access_token=x&access_token=%T"},
	{query: "access%5Ftoken=%T"}, {query: "%61ccess_token=%T"}, {query: "Access_Token=%T"}, {query: "ACCESS%5fTOKEN=%T"},
	{query: "access.token=%T"}, {query: "access+token=%T"}, {query: "access%20token=%T"}, {query: "+access_token=%T"},
	{query: "a=1;access_token=%T"}, {query: "access_token=x;%T"}, {query: "access_token[]=%T"}, {query: "access_token%5B0%5D=%T"},
	{lines: []string{"Referer: https://page.example/?access_token=%T"}},
	{lines: []string{"X-Forwarded-Uri: /ws?access_token=%T"}}, {lines: []string{"X-Original-URI: /ws?a=1&Access_Token=%T"}},
	{lines: []string{"X-Original-URL: https://page.example/?a;access_token=%T"}}, {lines: []string{"X_Original_URI: /ws?access_token=%T"}},
	{lines: []string{"Sec-WebSocket-Protocol: bearer, %T"}}, {lines: []string{"Sec-WebSocket-Protocol: Bearer, %T"}},
	{lines: []string{"Sec-WebSocket-Protocol: chat, BEARER,%T , x"}}, {lines: []string{"Sec-WebSocket-Protocol: bearer.%T, chat"}},
	{lines: []string{"Sec-WebSocket-Protocol: bEARER.%T,chat"}}, {lines: []string{"Sec-WebSocket-Protocol: chat, bearer", "sec-websocket-protocol: %T"}},
	{lines: []string{"Sec-WebSocket-Protocol: bearer, bearer, %T"}}, {lines: []string{"Sec-WebSocket-Protocol: bearer, %T, %T"}},
	{lines: []string{"Sec-WebSocket-Protocol: ,bearer,,%T,"}}, {lines: []string{"Sec-WebSocket-Protocol: bearer %T, chat"}},
	{lines: []string{"Sec-WebSocket-Protocol: MY.marker, %T"}}, {lines: []string{"Sec-WebSocket-Protocol: my.MARKER.%T, chat"}},
	{lines: []string{"Sec-WebSocket-Protocol: chat, K8S.io.%B"}}, {lines: []string{"Sec-WebSocket-Protocol: k8s.io., %B"}},
	{lines: []string{"Sec_WebSocket_Protocol: bearer, %T"}}, {lines: []string{"Sec-WebSocket-Protocol: chat, bearer", "Sec_WebSocket_Protocol: %T"}},
}

// aliased reports whether the spelling has a field name that Caddy itself drops
// unless it is told not to; it then drops the name with hyphens instead.
func (s spelling) aliased() bool {
	return slices.ContainsFunc(s.lines, func(line string) bool {
		name, _, _ := strings.Cut(line, ":")
		return strings.ContainsAny(name, "_.")
	})
}

// TestNoSpellingOfATokenReachesTheUpstream puts a token into every carrier in
// every spelling, beside another one that decides, and looks at what the upstream
// is sent.
func TestNoSpellingOfATokenReachesTheUpstream(t *testing.T) {
	b := newBackend(t, echo)
	aliases := `servers {
		expected_underscore_headers x_api_key x-api_key x_auth x_original_uri sec_websocket_protocol
		expected_dot_headers x.api.key
	}`
	for i, decides := range carrierWords {
		words := []string{decides.word}
		for _, other := range slices.Delete(slices.Clone(carrierWords), i, i+1) {
			words = append(words, other.word)
		}
		site := fmt.Sprintf("ws_gateway %s {\n auth {\n %s\n bearer %s alice\n }\n origins any\n }",
			b.addr, strings.Join(words, "\n"), goodToken)
		for _, options := range []string{"", aliases} {
			if options != "" && !slices.Contains([]string{"token header", "token cookie session_id", "token query access_token"}, decides.word) {
				continue
			}
			t.Run(decides.word, func(t *testing.T) {
				g := startWith(t, options, site)
				for _, s := range spellings {
					if s.aliased() == (options != "") {
						t.Run(strings.Join(append(s.lines, s.query), " "), func(t *testing.T) { smuggle(t, g, b, decides.carry, s) })
					}
				}
			})
		}
	}
}

// smuggle sends a handshake and a plain request with the good token and the
// other.
func smuggle(t *testing.T, g *gateway, b *backend, good, other spelling) {
	t.Helper()
	query := strings.Trim(good.query+"&"+strings.ReplaceAll(other.query, "%T", smuggledToken)+"&kept=1", "&")
	head := []string{"Host: " + g.httpAddr, "X-Kept: 2", "Cookie: kept=3"}
	head = append(head, good.lines...)
	for _, line := range other.lines {
		name, value, _ := strings.Cut(line, ":")
		value = strings.NewReplacer("%T", smuggledToken, "%B", b64([]byte(smuggledToken))).Replace(value)
		head = append(head, name+":"+value)
	}
	a := rawWS(t, g, lines(append([]string{"GET /ws?" + query + " HTTP/1.1", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + clientKey}, head...)...))
	if a.conn == nil {
		t.Fatalf("status %d", a.status)
	}
	a.conn.finish(t)
	seen := receive(t, "handshake", b.requests)
	raw := dialRaw(t, g)
	raw.send(t, lines(append([]string{"GET /page?" + query + " HTTP/1.1", "Connection: close"}, head...)...))
	raw.rest(t)
	for _, seen := range []string{seen, receive(t, "plain request", b.requests)} {
		if strings.Contains(seen, "malloryz") || strings.Contains(seen, b64([]byte("malloryz"))[:10]) || strings.Contains(seen, goodToken) {
			t.Errorf("the upstream was sent\n%s", seen)
		}
		for _, kept := range []string{"kept=1", "X-Kept: 2", "kept=3"} {
			if !strings.Contains(seen, kept) {
				t.Errorf("%s is gone from\n%s", kept, seen)
			}
		}
	}
	if answered := fmt.Sprint(a.header); strings.Contains(answered, "malloryz") || strings.Contains(answered, goodToken) {
		t.Errorf("the answer has it: %s", answered)
	}
}
