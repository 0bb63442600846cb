package wsgateway

import (
	"crypto/tls"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/revocation"
)

// pageSends are the fields that a browser puts into what the page itself sends.
var pageSends = []string{"Content-Type", "application/json", "Sec-Fetch-Site", "same-origin"}

func TestStatusActionsAreForThePageAlone(t *testing.T) {
	t.Parallel()
	const drain = `{"action":"upstream","address":"a:1","state":"drain"}`
	for name, row := range map[string]struct {
		header map[string][]string
		secure bool
		want   int
	}{
		"the page":                       {map[string][]string{"Sec-Fetch-Site": {"same-origin"}}, true, 200},
		"another site":                   {map[string][]string{"Sec-Fetch-Site": {"cross-site"}}, true, 403},
		"another subdomain":              {map[string][]string{"Sec-Fetch-Site": {"same-site"}, "Origin": {"https://example.com"}}, true, 403},
		"typed in":                       {map[string][]string{"Sec-Fetch-Site": {"none"}}, true, 403},
		"two words":                      {map[string][]string{"Sec-Fetch-Site": {"same-origin", "cross-site"}}, true, 403},
		"empty":                          {map[string][]string{"Sec-Fetch-Site": {""}}, true, 403},
		"nothing said":                   {nil, true, 403},
		"its origin, over http":          {map[string][]string{"Origin": {"http://example.com"}}, false, 200},
		"its origin, over https":         {map[string][]string{"Origin": {"https://example.com"}}, true, 200},
		"its origin, with its port":      {map[string][]string{"Origin": {"http://example.com:80"}}, false, 200},
		"its origin by the wrong scheme": {map[string][]string{"Origin": {"http://example.com"}}, true, 403},
		"its origin by another port":     {map[string][]string{"Origin": {"http://example.com:81"}}, false, 403},
		"another origin":                 {map[string][]string{"Origin": {"http://example.com.evil.example"}}, false, 403},
		"null":                           {map[string][]string{"Origin": {"null"}}, false, 403},
		"two origins":                    {map[string][]string{"Origin": {"http://example.com", "http://example.com"}}, false, 403},
		"a form":                         {map[string][]string{"Sec-Fetch-Site": {"same-origin"}, "Content-Type": {"text/plain"}}, true, 415},
		"no type":                        {map[string][]string{"Sec-Fetch-Site": {"same-origin"}, "Content-Type": nil}, true, 415},
		"a type with a charset":          {map[string][]string{"Sec-Fetch-Site": {"same-origin"}, "Content-Type": {"application/json; charset=utf-8"}}, true, 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, set := newStatus(t, true)
			set.Ledger.Want("a:1", 1)
			w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "POST", "http://example.com/status", strings.NewReader(drain))
			if row.secure {
				r.TLS = new(tls.ConnectionState)
			}
			r.Header.Set("Content-Type", "application/json")
			maps.Copy(r.Header, row.header)
			r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, new(caddyhttp.Server))
			if err := s.ServeHTTP(w, r, teapot); err != nil || w.Code != row.want {
				t.Errorf("%d %s %v, want %d", w.Code, w.Body, err, row.want)
			}
			drains := set.Ledger.Look("a:1").State == balance.Drain
			if drains != (row.want == 200) {
				t.Errorf("the upstream drains: %t", drains)
			}
		})
	}
}

// Behind a trusted proxy, the line names the client, as all lines of the gateway do.
func TestStatusActionsAreLoggedWithTheClient(t *testing.T) {
	t.Parallel()
	s, set := newStatus(t, true)
	set.Ledger.Want("a:1", 1)
	core, lines := observer.New(zap.InfoLevel)
	s.actions.logger = zap.New(core)
	w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader(`{"action":"upstream","address":"a:1","state":"drain"}`))
	for field := range slices.Chunk(pageSends, 2) {
		r.Header.Set(field[0], field[1])
	}
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, new(caddyhttp.Server))
	caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, "203.0.113.9")
	if err := s.ServeHTTP(w, r, teapot); err != nil || w.Code != 200 || lines.Len() != 1 {
		t.Fatalf("%d %s %v, %d lines", w.Code, w.Body, err, lines.Len())
	}
	if got := lines.All()[0].ContextMap(); got["remote_ip"] != "203.0.113.9" || got["action"] != "upstream" || got["address"] != "a:1" || got["state"] != "drain" {
		t.Errorf("the line has %v", got)
	}
}

func TestStatusActionsNeedToBeAllowed(t *testing.T) {
	t.Parallel()
	s, set := newStatus(t, false)
	set.Ledger.Want("a:1", 1)
	answer := s.ask(t, "POST", "/", `{"action":"upstream","address":"a:1","state":"drain"}`, pageSends...)
	if body := bodyOf(t, answer); answer.StatusCode != 403 || !strings.Contains(body, "allow_actions is not set") {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
	if state := set.Ledger.Look("a:1").State; state != balance.Ready {
		t.Errorf("the upstream is in %s", state)
	}
}

func TestStatusActionsExplainWhatIsWrong(t *testing.T) {
	t.Parallel()
	s, set := newStatus(t, true)
	set.Ledger.Want("a:1", 1)
	for body, want := range map[string]string{
		``:                                     "400 the body must be a JSON object",
		`[]`:                                   "400 the body must be a JSON object",
		`{"action":"upstream","action":"end"}`: "400 a member stands twice",
		`{"pad":"` + strings.Repeat("x", maxStatusBody) + `"}`: "400 more than 16384 bytes",
		`{}`:                                    "400 action must be one of end, ",
		`{"action":"reboot"}`:                   "400 action must be one of end, ",
		`{"action":"upstream","state":"drain"}`: "400 upstream: address is missing",
		`{"action":"upstream","address":"","state":"drain"}`:                "must be a text",
		`{"action":"upstream","address":1,"state":"drain"}`:                 "must be a text",
		`{"action":"upstream","address":"a:1","state":"off"}`:               "use ready, drain or maintenance",
		`{"action":"upstream","address":"a:1"}`:                             "400 state",
		`{"action":"upstream","address":"b:1","state":"drain"}`:             "404 no gateway has an upstream",
		`{"action":"upstream","address":"a:1","state":"drain","id":"x"}`:    "unknown",
		`{"action":"upstream","address":"a:1&address=b:1","state":"drain"}`: "404 no gateway has an upstream",
		`{"action":"end"}`:                                  "400 end: id is missing",
		`{"action":"end","id":"none"}`:                      "404 there is no such connection",
		`{"action":"end","id":"?user=alice"}`:               "404 there is no such connection",
		`{"action":"end","id":"../revocations"}`:            "404 there is no such connection",
		`{"action":"end","id":"x","user":"alice"}`:          "unknown",
		`{"action":"node"}`:                                 "use drain or ready",
		`{"action":"node","state":"drain","period":"soon"}`: "400 period",
		`{"action":"revoke"}`:                               "400 jti or user must say what to revoke",
		`{"action":"revoke","user":"alice","code":"1000"}`:  "unknown",
		`{"action":"revoke","user":"alice","jti":"x"}`:      "400",
	} {
		answer := s.ask(t, "POST", "/", body, pageSends...)
		said := bodyOf(t, answer)
		status, text, hasStatus := strings.Cut(want, " ")
		if hasStatus && len(status) == 3 && status[0] == '4' {
			want = text
			if http.StatusText(answer.StatusCode) == "" || !strings.HasPrefix(answer.Status, status) {
				t.Errorf("%.80s: %s %s", body, answer.Status, said)
			}
		}
		if answer.StatusCode/100 != 4 || !strings.Contains(said, `{"error":"`) || want != "400" && !strings.Contains(said, want) {
			t.Errorf("%.80s: %d %s, want %s", body, answer.StatusCode, said, want)
		}
	}
}

func TestStatusActionsDoWhatTheAdminEndpointDoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, set := newStatus(t, true)
		set.Ledger.Want("a:1", 1)
		id, ended := openAs(set, "alice", "")
		_, revoked := openAs(set, "bob", "")
		_, drained := openAs(set, "carol", "")
		do := func(body, want string) {
			t.Helper()
			answer := s.ask(t, "POST", "/", body, pageSends...)
			if said := bodyOf(t, answer); answer.StatusCode/100 != 2 || !strings.Contains(said, want) || answer.Header.Get("Location") != "" {
				t.Errorf("%s: %d %s", body, answer.StatusCode, said)
			}
		}
		do(`{"action":"end","id":"`+id+`"}`, `{"ended":1}`)
		if code := <-ended.Code; code != 3000 {
			t.Errorf("ended with %d", code)
		}
		do(`{"action":"revoke","user":"bob"}`, `"ended":1`)
		if code := <-revoked.Code; code != 3000 {
			t.Errorf("revoked with %d", code)
		}
		if set.Revocations.Find(revocation.Credential{User: "bob"}) == nil {
			t.Error("there is no revocation")
		}
		do(`{"action":"upstream","address":"a:1","state":"maintenance"}`, `"maintenance"`)
		do(`{"action":"upstream","address":"a:1","state":"drain"}`, `"drain"`)
		if code := <-drained.Code; code != 1012 {
			t.Errorf("drained with %d", code)
		}
		do(`{"action":"upstream","address":"a:1","state":"ready"}`, `"ready"`)
		do(`{"action":"node","state":"drain","period":"10s"}`, `"drain"`)
		if _, drains := set.NodeDraining(); !drains {
			t.Error("the node does not drain")
		}
		do(`{"action":"node","state":"ready"}`, `"ready"`)
		elapse(time.Second)
		if n := set.Count(live.Filter{}); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
}
