package wsgateway

import (
	"encoding/json"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// asked is the answer of the admin endpoint for connections.
func asked(set *live.Set, method, target string) (status int, answer string) {
	rec := httptest.NewRecorder()
	if err := adminConnections(set, alone(set))(rec, httptest.NewRequest(method, connectionsPath+target, nil)); err != nil {
		return apiStatus(err), err.Error()
	}
	return rec.Code, strings.TrimSpace(rec.Body.String())
}

func TestAdminSaysWhatIsWrongWithAListThatIsAskedFor(t *testing.T) {
	t.Parallel()
	set := live.NewSet(live.Reports{Closed: reportClosed}, caddy.Exiting)
	for target, want := range map[string]string{
		"?name=x":                               `unknown parameter "name": allowed are after, fleet, gateway, ip, jti, limit, older_than, protocol, sort, state, upstream, user`,
		"?code=1000":                            `unknown parameter "code"`,
		"?user=":                                "user must be given once, and not be empty",
		"?user=a&user=a":                        "user must be given once",
		"?sort=age&sort=age":                    "sort must be given once",
		"?user=%zz":                             "the query is damaged",
		"?older_than=x":                         "older_than \"x\" must be a duration",
		"?older_than=0s":                        "more than 0",
		"?state=dead":                           "state must be live or closed",
		"?state=":                               "state must be live or closed",
		"?sort=name":                            "sort must be one of age, idle, rate, pending, rtt",
		"?sort=":                                "sort must be one of",
		"?limit=0":                              "limit must be a number from 1 to 10000",
		"?limit=10001":                          "limit must be",
		"?limit=-1":                             "limit must be",
		"?limit=x":                              "limit must be",
		"?limit=":                               "limit must be",
		"?after=":                               "after must be the id",
		"?after=x":                              "after must be the id",
		"?after=FFFFFFFFFFFFFFFF":               "after must be the id",
		"?after=ffffffffffffffff&sort=age":      "with sort, ask for more by limit",
		"?state=closed&jti=x":                   "jti cannot be used with state=closed",
		"?state=closed&sort=age":                "sort cannot be used with state=closed",
		"?state=closed&older_than=1s":           "older_than cannot be used with state=closed",
		"?state=closed&after=ffffffffffffffff":  "after cannot be used with state=closed",
		"/ffffffffffffffff?limit=1":             `unknown parameter "limit": none is allowed here`,
		"/ffffffffffffffff?user=a&state=closed": "unknown parameter",
	} {
		if status, answer := asked(set, "GET", target); status != 400 || !strings.Contains(answer, want) {
			t.Errorf("%s: %d %s, want 400 %s", target, status, answer, want)
		}
	}
	for _, method := range []string{"GET", "DELETE"} {
		if status, answer := asked(set, method, "?ip=[]"); status != 400 || !strings.Contains(answer, "ip \"[]\" must be an address") {
			t.Errorf("%s by no address: %d %s", method, status, answer)
		}
	}
	for target, want := range map[string]string{"": "[]", "/": "[]", "?state=closed": "[]", "?sort=rtt": "[]", "?user=nobody&state=live": "[]"} {
		if status, answer := asked(set, "GET", target); status != 200 || answer != want {
			t.Errorf("%s: %d %s, want %s", target, status, answer, want)
		}
	}
	for method, want := range map[string]int{"GET": 404, "HEAD": 404, "PUT": 405, "POST": 405} {
		if status, answer := asked(set, method, "/ffffffffffffffff"); status != want {
			t.Errorf("%s: %d %s, want %d", method, status, answer, want)
		}
	}
}

func TestAdminListsConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		set := live.NewSet(live.Reports{Closed: reportClosed}, caddy.Exiting)
		set.Name("a:1")
		set.NewCredentials().Accept([]string{"k"}, []string{"a:1"})
		var ids []string
		for _, user := range []string{"alice", "bob", "carol"} {
			id, _ := openAs(set, user, "j-"+user)
			ids = append(ids, id)
			elapse(time.Minute)
		}
		rows := func(target string) (users string) {
			t.Helper()
			status, answer := asked(set, "GET", target)
			var listed []live.Row
			if err := json.Unmarshal([]byte(answer), &listed); status != 200 || err != nil {
				t.Errorf("%s: %d %s: %v", target, status, answer, err)
			}
			for i := range listed {
				users += listed[i].User + " "
			}
			return users
		}
		sorted := slices.Sorted(slices.Values(ids))
		first := map[string]string{ids[0]: "alice ", ids[1]: "bob ", ids[2]: "carol "}
		for target, want := range map[string]string{
			"?sort=age":                            "alice bob carol ",
			"?sort=idle&limit=2":                   "alice bob ",
			"?older_than=90s&sort=age":             "alice bob ",
			"?jti=j-bob":                           "bob ",
			"?user=carol&gateway=test&limit=1":     "carol ",
			"?user=carol&gateway=other":            "",
			"?limit=1":                             first[sorted[0]],
			"?limit=1&after=" + sorted[0]:          first[sorted[1]],
			"?after=" + sorted[1]:                  first[sorted[2]],
			"?after=" + sorted[2]:                  "",
			"?state=closed":                        "",
			"?limit=10000&state=live&upstream=a:1": first[sorted[0]] + first[sorted[1]] + first[sorted[2]],
		} {
			if got := rows(target); got != want {
				t.Errorf("%s: %q, want %q", target, got, want)
			}
		}
		if status, answer := asked(set, "GET", "/"+ids[1]); status != 200 || !strings.Contains(answer, `"user":"bob"`) || strings.Contains(answer, "j-bob") {
			t.Errorf("%d %s", status, answer)
		}
		if status, answer := asked(set, "DELETE", "?older_than=90s&code=4000&reason=old"); status != 200 || answer != `{"ended":2}` {
			t.Errorf("%d %s", status, answer)
		}
		elapse(time.Minute)
		if got := rows("?state=closed&user=bob"); got != "bob " {
			t.Errorf("of those that have ended: %q", got)
		}
		if status, answer := asked(set, "GET", "/"+ids[0]); status != 200 || !strings.Contains(answer, `"by":"gateway","code":4000,"reason":"old"`) {
			t.Errorf("one that has ended: %d %s", status, answer)
		}
		if status, answer := asked(set, "DELETE", "/"+ids[0]); status != 404 {
			t.Errorf("ended again: %d %s", status, answer)
		}
		set.End(live.EndRevoked, func(*live.Conn) bool { return true })
	})
}

func TestAdminListsAndEndsStreams(t *testing.T) {
	t.Parallel()
	set := live.NewSet(live.Reports{Closed: reportClosed}, caddy.Exiting)
	defer set.Name("a:1")()
	for _, row := range []struct {
		target string // of a DELETE
		reason string // that the stream is told
	}{
		{"?protocol=sse", "token revoked"},
		{"?protocol=sse&code=4000", "token revoked"},
		{"?protocol=sse&code=4000&reason=go", "go"},
		{"?upstream=a:1&reason=go", "go"},
	} {
		c, link := streamOf(set, "test", "a:1")
		for target, want := range map[string]string{
			"?protocol=sse":                    `"protocol":"sse"`,
			"?protocol=websocket":              "[]",
			"/" + c.ID:                         `"protocol":"sse"`,
			"?state=closed&protocol=websocket": "[]",
		} {
			if status, answer := asked(set, "GET", target); status != 200 || !strings.Contains(answer, want) {
				t.Errorf("%s: %d %s, want %s", target, status, answer, want)
			}
		}
		if status, answer := asked(set, "DELETE", row.target); status != 200 || answer != `{"ended":1}` {
			t.Fatalf("%s: %d %s", row.target, status, answer)
		}
		told := <-link.told
		if want := (relay.Close{Reason: row.reason}); told != want {
			t.Errorf("%s: told %+v, want %+v", row.target, told, want)
		}
		c.Finish(relay.Outcome{By: relay.Gateway, Reason: told.Reason})
		if status, answer := asked(set, "GET", "?state=closed&protocol=sse&limit=1"); status != 200 || !strings.Contains(answer, `"by":"gateway","code":0,"reason":"`+row.reason+`"`) {
			t.Errorf("%s: ended as %d %s", row.target, status, answer)
		}
	}
}
