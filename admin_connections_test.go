package wsgateway

import (
	"errors"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

func TestConnectionsAreFoundByAnySpelling(t *testing.T) {
	t.Parallel()
	set := live.NewSet(live.Reports{}, caddy.Exiting)
	for _, row := range []struct{ upstream, remoteIP, query string }{
		{"a:80", "", "upstream=http://A:80"},
		{"a:80", "", "upstream=tcp/a:080"},
		{"a:80", "", "upstream=http://a"},
		{"[::1]:80", "", "upstream=[0:0::1]:80"},
		{"127.0.0.1:80", "", "upstream=[::ffff:127.0.0.1]:80"},
		{"unix//run/a+b.sock", "", "upstream=unix//run/a+b.sock"},
		{"unix//run/a+b.sock", "", "upstream=unix/run/./a%2Bb.sock"},
		{"unix+h2c//run/a", "", "upstream=unix%2Bh2c//run/a"},
		{"a:80", "2001:db8::1", "ip=2001:DB8:0::1"},
		{"a:80", "2001:db8::1", "ip=[2001:db8::1]"},
		{"a:80", "192.0.2.1", "ip=::ffff:192.0.2.1"},
		{"a:80", "::ffff:192.0.2.1", "ip=192.0.2.1"},
		{"a:80", "@", "ip=@"},
	} {
		t.Run(row.query, func(t *testing.T) {
			set.Ledger.Want(row.upstream, 1)
			defer set.Ledger.Want(row.upstream, -1)
			query, err := parametersOf(&url.URL{RawQuery: row.query})
			if err != nil {
				t.Fatal(err)
			}
			filter, n, err := filterOf(query, set.Ledger.Addresses)
			if err != nil || n != 1 {
				t.Fatalf("%d filters: %v", n, err)
			}
			at := func(upstream, ip string) {
				details, _, _ := linked()
				details.ID, details.Upstream, details.RemoteIP = live.NewID(), upstream, ip
				c := set.NewConn(details, upstream, live.Authority{})
				defer set.Name(upstream)()
				set.Add(c)
				defer set.Remove(c)
				rows := set.Rows(live.Query{Filter: filter, Limit: 1})
				if found := len(rows) == 1; found != (upstream == row.upstream) {
					t.Errorf("finds that of %q at %s: %t", ip, upstream, found)
				}
			}
			at(row.upstream, row.remoteIP)
			at("other:80", "192.0.2.9")
		})
	}
}

// openAs opens a connection that a token let in.
func openAs(set *live.Set, user, jti string) (id string, client *bubble.Peer) {
	details, client, backend := linked()
	details.ID, details.Gateway, details.UserID, details.Upstream = live.NewID(), "test", user, "a:1"
	c := set.NewConn(details, "a:1", live.NewAuthority(jti, "k", "", time.Time{}, time.Time{}))
	set.Add(c)
	go run(c)
	go client.AnswerClose()
	go backend.AnswerClose()
	return c.ID, client
}

func TestAdminEndsConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		set := live.NewSet(live.Reports{Closed: reportClosed}, caddy.Exiting)
		set.Name("a:1")
		set.NewCredentials().Accept([]string{"k"}, []string{"a:1"})
		type end struct{ code int }
		id, byID := openAs(set, "alice", "j1")
		_, byJTI := openAs(set, "bob", "j2")
		_, byUser := openAs(set, "carol", "")
		_, byUser2 := openAs(set, "carol", "")
		_, stays := openAs(set, "dave", "")
		for _, row := range []struct {
			method, target string
			status         int
			answer         string
			ends           map[*bubble.Peer]end
		}{
			{"POST", "", 405, "use GET or HEAD or DELETE", nil},
			{"DELETE", "", 400, "say which connections", nil},
			{"DELETE", "?code=4000", 400, "say which connections", nil},
			{"DELETE", "?user=", 400, "must be given once", nil},
			{"DELETE", "?user=a&user=b", 400, "must be given once", nil},
			{"DELETE", "?user=carol&code=4000&code=4001", 400, "code must be given once", nil},
			{"DELETE", "?user=carol&reason=a&reason=b", 400, "reason must be given once", nil},
			{"DELETE", "/" + id + "?code=4000&code=4000", 400, "code must be given once", nil},
			{"DELETE", "?user=%zz", 400, "query is damaged", nil},
			{"DELETE", "?name=carol", 400, "allowed are code, fleet, gateway, ip, jti, older_than, protocol, reason, upstream, user", nil},
			{"DELETE", "/" + id + "?user=alice", 400, "allowed are code, fleet, reason", nil},
			{"DELETE", "?older_than=1", 400, "must be a duration", nil},
			{"DELETE", "?older_than=0s", 400, "must be a duration", nil},
			{"DELETE", "?older_than=-1h", 400, "must be a duration", nil},
			{"DELETE", "?older_than=1h", 200, `{"ended":0}`, nil},
			{"DELETE", "?user=carol&code=1005", 400, "cannot be sent", nil},
			{"DELETE", "?user=carol&code=999", 400, "cannot be sent", nil},
			{"DELETE", "?user=carol&code=x", 400, "cannot be sent", nil},
			{"DELETE", "?user=carol&reason=" + strings.Repeat("r", 124), 400, "at most 123", nil},
			{"DELETE", "?user=carol&reason=%ff", 400, "UTF-8", nil},
			{"DELETE", "/none", 404, "no such connection", nil},
			{"DELETE", "?user=nobody", 200, `{"ended":0}`, nil},
			{"DELETE", "?user=carol&gateway=other", 200, `{"ended":0}`, nil},
			{"DELETE", "/" + id, 200, `{"ended":1}`, map[*bubble.Peer]end{byID: {3000}}},
			{"DELETE", "?jti=j2&code=4001&reason=go", 200, `{"ended":1}`, map[*bubble.Peer]end{byJTI: {4001}}},
			{"DELETE", "?user=carol&gateway=test&upstream=a:1", 200, `{"ended":2}`, map[*bubble.Peer]end{byUser: {3000}, byUser2: {3000}}},
		} {
			rec := httptest.NewRecorder()
			err := adminConnections(set, alone(set))(rec, httptest.NewRequest(row.method, connectionsPath+row.target, nil))
			status, answer := rec.Code, strings.TrimSpace(rec.Body.String())
			if err != nil {
				status, answer = apiStatus(err), err.Error()
			}
			if status != row.status || !strings.Contains(answer, row.answer) {
				t.Errorf("%s %s: %d %s, want %d %s", row.method, row.target, status, answer, row.status, row.answer)
			}
			for p, want := range row.ends {
				if code := <-p.Code; code != want.code {
					t.Errorf("%s: closed with %d, want %d", row.target, code, want.code)
				}
			}
			synctest.Wait()
		}
		if n := set.End(live.EndRevoked, func(*live.Conn) bool { return true }); n != 1 {
			t.Errorf("%d are left, want the one that nobody named", n)
		}
		<-stays.Code
	})
}

func apiStatus(err error) int {
	if answer, ok := errors.AsType[caddy.APIError](err); ok {
		return answer.HTTPStatus
	}
	return 0
}
