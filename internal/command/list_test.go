package command

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const (
	liveRow = `{"id":"c1","gateway":"chat","user":"alice","remote_ip":"203.0.113.7","proto":"HTTP/2.0","protocol":"websocket","upstream":"10.0.0.5:80",` +
		`"opened_at":"2026-05-04T12:00:00Z","age":3720.25,"messages_from_client":2,"messages_from_upstream":3,"bytes_from_client":4,"bytes_from_upstream":5000,` +
		`"idle":0.25,"rtt":0.0042,"pending":2048,"rates":{"bytes_from_client":1000,"bytes_from_upstream":500},"ends_at":"2026-05-04T14:00:00.25Z","ends_because":"token"}`
	liveHeader = "ID  USER   UPSTREAM     AGE    IDLE   RATE      RTT    PENDING  PROTOCOL   IP           GATEWAY  ENDS IN       PROTO     FROM CLIENT  FROM UPSTREAM\n"
	liveLine   = "c1  alice  10.0.0.5:80  1h02m  250ms  1.5 kB/s  4.2ms  2.0 kB   websocket  203.0.113.7  chat     58m00s token  HTTP/2.0  2, 4 B       3, 5.0 kB\n"

	closedRow = `{"id":"c1","gateway":"chat","remote_ip":"203.0.113.7","proto":"HTTP/1.1","protocol":"websocket","upstream":"10.0.0.5:80","opened_at":"2026-05-04T12:00:00Z","age":90,` +
		`"closed_at":"2026-05-04T12:01:30.125Z","by":"gateway","code":1008,"reason":"\u001b[2J","limit":"messages"}`
	closedStream = `{"id":"c2","gateway":"chat","remote_ip":"203.0.113.7","proto":"HTTP/2.0","protocol":"sse","upstream":"10.0.0.5:80","opened_at":"2026-05-04T12:00:00Z","age":90,` +
		`"messages_from_upstream":7,"closed_at":"2026-05-04T12:01:30.125Z","by":"upstream","code":0,"reason":"it is over"}`
	closedLines = "ID  CLOSED                BY       CODE  REASON     LIMIT     UPSTREAM     LASTED  PROTOCOL   IP           GATEWAY  PROTO     FROM CLIENT  FROM UPSTREAM\n" +
		"c1  2026-05-04T12:01:30Z  gateway  1008  \"\\x1b[2J\"  messages  10.0.0.5:80  1m30s   websocket  203.0.113.7  chat     HTTP/1.1  0, 0 B       0, 0 B\n"
)

func TestConnectionsAreListed(t *testing.T) {
	t.Parallel()
	byPending := "ID  USER   PENDING  UPSTREAM     AGE    IDLE   RATE      RTT    PROTOCOL   IP"
	rows := []struct{ name, args, answer, sent, out string }{
		{"none", "", "200 []", "?limit=1000", ""},
		{"none, as null", "", "200 null", "?limit=1000", ""},
		{"none, as JSON", "--json", "200 []", "?limit=1000", "[]\n"},
		{"one", "", "200 [" + liveRow + "]", "?limit=1000", liveHeader + liveLine},
		{"by all filters", "--gateway g --upstream unix//run/a.sock --user a&b --protocol sse --jti j --ip ::1 --older-than 7d", "200 [{}]",
			"?gateway=g&ip=%3A%3A1&jti=j&limit=1000&older_than=7d&protocol=sse&upstream=unix%2F%2Frun%2Fa.sock&user=a%26b", "AGE  FROM CLIENT  FROM UPSTREAM\n0s   0, 0 B       0, 0 B\n"},
		{"sorted", "--sort pending --limit 9", "200 [" + liveRow + "]", "?limit=9&sort=pending", byPending},
		{"some", "--limit 2 --older-than 1m", "200 [" + liveRow + "]", "?limit=2&older_than=1m", liveHeader + liveLine},
		{"some without an order", "--limit 1", "200 [" + liveRow + "]", "?limit=1", liveHeader + liveLine},
		{"closed", "--state closed", "200 [" + closedRow + "]", "?limit=10000&state=closed", closedLines},
		{"some closed", "--state closed --user a --limit 5", "200 [" + closedRow + "]", "?limit=5&state=closed&user=a", closedLines},
		{"closed, of a stream", "--state closed --protocol sse", "200 [" + closedStream + "]", "?limit=10000&protocol=sse&state=closed",
			"ID  CLOSED                BY        REASON      UPSTREAM     LASTED  PROTOCOL  IP           GATEWAY  PROTO     FROM CLIENT  FROM UPSTREAM\n" +
				"c2  2026-05-04T12:01:30Z  upstream  it is over  10.0.0.5:80  1m30s   sse       203.0.113.7  chat     HTTP/2.0  0, 0 B       7, 0 B\n"},
		{"live by name", "--state live", "200 [" + liveRow + "]", "?limit=1000", liveHeader + liveLine},
		{"as JSON", "--json", `200 [ {"id":"c1", "new":1.50} ,{"id":"c2"}]`, "?limit=1000", `[{"id":"c1", "new":1.50},{"id":"c2"}]` + "\n"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			endpoint := newFakeEndpoint(t, row.answer)
			says := ""
			if row.out == "" {
				says = "no connections"
			}
			r := runAt(t, endpoint, append([]string{"list"}, strings.Fields(row.args)...)...)
			if row.out == byPending {
				if !strings.HasPrefix(r.out, byPending) {
					t.Errorf("printed is\n%s", r.out)
				}
				row.out = r.out
			}
			r.expect(t, 0, row.out, says)
			if sent, want := endpoint.requests(), []string{"GET /ws_gateway/connections" + row.sent}; !slices.Equal(sent, want) {
				t.Errorf("sent was %q and should be %q", sent, want)
			}
		})
	}
	runAt(t, newFakeEndpoint(t, `400 {"error":"after is for the order of IDs"}`), "list").expect(t, exitRefused, "", "400 Bad Request: after is for")
}

func TestPagesOfConnectionsAreFollowed(t *testing.T) {
	t.Parallel()
	endpoint := newFakeEndpoint(t, pageAnswer(0, 1000), pageAnswer(1000, 3))
	r := runAt(t, endpoint, "list", "--json", "--user", "alice")
	r.expect(t, 0, r.out, "")
	var all []struct{ ID string }
	if err := json.Unmarshal([]byte(r.out), &all); err != nil || len(all) != 1003 || all[1002].ID != "r1002" {
		t.Errorf("printed were %d, %v", len(all), err)
	}
	want := []string{"GET /ws_gateway/connections?limit=1000&user=alice", "GET /ws_gateway/connections?after=r999&limit=1000&user=alice"}
	if sent := endpoint.requests(); !slices.Equal(sent, want) {
		t.Errorf("sent was %q", sent)
	}
	for _, args := range []string{"list --limit 1000", "list --sort age", "list --state closed"} { // are no pages
		endpoint := newFakeEndpoint(t, pageAnswer(0, 1000))
		r := runAt(t, endpoint, strings.Fields(args)...)
		if r.status != 0 || len(endpoint.requests()) != 1 {
			t.Errorf("%s: the exit status is %d, sent was %q", args, r.status, endpoint.requests())
		}
	}
}

const gatewaysAnswer = `200 [{"name":"chat","upstreams":[{"address":"a:1","state":"ready","weight":2.5,"live":3,"opened":10,"failed":1},` +
	`{"address":"b:2","state":"drain","weight":1,"live":1,"opened":4,"failed":0}]},` +
	`{"name":"x\u001b","upstreams":[{"address":"a:1","state":"unhealthy","weight":1,"live":0,"opened":0,"failed":7}]},{"name":"none","upstreams":[]}]`

func TestUpstreamsAreShown(t *testing.T) {
	t.Parallel()
	rows := []struct {
		args, answer string
		status       int
		out, says    string
	}{
		{"", gatewaysAnswer, 0, "GATEWAY  ADDRESS  STATE      LIVE  SHARE  OPENED  FAILED  WEIGHT\n" +
			"chat     a:1      ready      3     75%    10      1       2.5\n" +
			"chat     b:2      drain      1     25%    4       0       1\n" +
			"\"x\\x1b\"  a:1      unhealthy  0     -      0       7       1\n", ""},
		{"--gateway chat", gatewaysAnswer, 0, "GATEWAY  ADDRESS  STATE  LIVE  SHARE  OPENED  FAILED  WEIGHT\n" +
			"chat     a:1      ready  3     75%    10      1       2.5\n" +
			"chat     b:2      drain  1     25%    4       0       1\n", ""},
		{"--gateway live", `200 [{"name":"live","upstreams":[{"address":"a:1","state":"ready","weight":1,"live":3,"streams":2},{"address":"b:2","state":"ready","weight":1,"live":1}]}]`, 0,
			"GATEWAY  ADDRESS  STATE  LIVE  SHARE  OPENED  FAILED  WEIGHT  STREAMS\n" +
				"live     a:1      ready  3     75%    0       0       1       2\n" +
				"live     b:2      ready  1     25%    0       0       1       -\n", ""},
		{"--gateway none", gatewaysAnswer, 0, "", "no upstreams"},
		{"--gateway none --json", gatewaysAnswer, 0, `[{"name":"none","upstreams":[]}]` + "\n", ""},
		{"--gateway other", gatewaysAnswer, exitRefused, "", `there is no gateway "other": known are "chat", "x\x1b", "none"`},
		{"--gateway other", "200 []", exitRefused, "", `there is no gateway "other": there is none`},
		{"", "200 []", 0, "", "no upstreams"},
		{"--json", "200 [\n]", 0, "[]\n", ""},
	}
	for _, row := range rows {
		t.Run(row.args, func(t *testing.T) {
			t.Parallel()
			endpoint := newFakeEndpoint(t, row.answer)
			runAt(t, endpoint, append([]string{"upstreams"}, strings.Fields(row.args)...)...).expect(t, row.status, row.out, row.says)
			if sent := endpoint.requests(); !slices.Equal(sent, []string{"GET /ws_gateway/"}) {
				t.Errorf("sent was %q", sent)
			}
		})
	}
}

func TestUnitsAreForPeople(t *testing.T) {
	t.Parallel()
	for seconds, want := range map[float64]string{
		-1: "0s", 0: "0s", 0.00042: "0.4ms", 0.0042: "4.2ms", 0.042: "42ms", 0.9999: "999ms", 1: "1s", 59.99: "59s", 60: "1m00s", 3599.9: "59m59s",
		3600: "1h00m", 86399: "23h59m", 86400: "1d00h", 100 * 86400: "100d00h",
	} {
		if got := durationText(seconds); got != want {
			t.Errorf("%v seconds are %s and should be %s", seconds, got, want)
		}
	}
	for rate, want := range map[float64]string{0: "0/s", 0.04: "0.0/s", 0.5: "0.5/s", 9.94: "9.9/s", 10: "10/s", 12345.6: "12,346/s"} {
		if got := perSecond(rate); got != want {
			t.Errorf("%v is %s and should be %s", rate, got, want)
		}
	}
	for written, want := range map[string]string{"2026-05-04T12:00:00.5Z": "2026-05-04T12:00:00Z", "soon": "soon", "": ""} {
		if got := secondOf(written); got != want {
			t.Errorf("%q is %q and should be %q", written, got, want)
		}
	}
	for _, ends := range []string{"soon", ""} {
		if got := endText(&listedConnection{OpenedAt: "2026-05-04T12:00:00Z", EndsAt: ends}); got != ends {
			t.Errorf("%q is %q", ends, got)
		}
	}
	if got := fmt.Sprint(bytesText(-1), bytesText(1e6)); got != "0 B1.0 MB" {
		t.Error(got)
	}
}

func TestColumnsWithoutRoomAreLeftOut(t *testing.T) {
	t.Parallel()
	columns := []column{{"ID", false}, {"USER", true}, {"AGE", false}, {"IDLE", false}}
	lines := [][]string{{"ID", "USER", "AGE", "IDLE"}, {"0123456789", strings.Repeat("x", 40), "1h02m", "250ms"}}
	rows := []struct{ limit, kept, want int }{
		{0, 1, 4}, {200, 1, 4}, {47, 1, 4}, {46, 1, 3}, {40, 1, 3}, {39, 1, 2}, {33, 1, 2}, {32, 1, 1}, {1, 1, 1}, {1, 3, 3}, {39, 3, 3},
	}
	for _, row := range rows {
		fitting, cut := fitColumns(row.limit, row.kept, columns, lines)
		if len(fitting) != row.want || len(cut) != 2 || len(cut[1]) != row.want {
			t.Errorf("in %d characters with %d kept there are %v", row.limit, row.kept, fitting)
		}
	}
}

func TestWrongUsageAboutConnectionsAndUpstreamsSendsNothing(t *testing.T) {
	t.Parallel()
	expectWrongUsage(t, []wrongUsage{
		{"list alice", "takes no argument"},
		{"list --user=", "--user: it must not be empty"},
		{"list --protocol=", "--protocol: it must not be empty"},
		{"list --older-than=", "--older-than: it must not be empty"},
		{"list --older-than=long", `--older-than: "long" is no duration`},
		{"list --older-than=0s", "--older-than: it must be more than nothing"},
		{"list --state=all", `--state: "all" is neither live nor closed`},
		{"list --sort=name", `--sort: "name" is none of age, idle, rate, pending, rtt`},
		{"list --sort=", "--sort: "},
		{"list --limit=0", "--limit: it must be from 1 to 10000"},
		{"list --limit=10001", "--limit: it must be from 1 to 10000"},
		{"list --limit=x", "invalid argument"},
		{"upstreams chat", "takes no argument"},
		{"upstreams --gateway=", "--gateway: it must not be empty"},
		{"kill", "by their IDs or with a filter such as --user"},
		{"kill --yes --code=1012", "by their IDs or with a filter"},
		{"kill c1 --user=a", "IDs and filters exclude each other"},
		{"kill --ip=", "--ip: it must not be empty"},
		{"kill c1 --code=x", "invalid argument"},
		{"kill --user=a --older-than=-1h", `--older-than: "-1h" is negative`},
		{"drain", "say which upstreams, by their addresses; see caddy ws-gateway drain --help"},
		{"drain a:1 --timeout=1s", "--timeout needs --wait"},
		{"drain a:1 --wait --timeout=soon", `--timeout: "soon" is no duration`},
		{"drain a:1 --period=1s", "unknown flag"},
		{"ready", "by their addresses"},
		{"ready a:1 --wait", "unknown flag"},
		{"maintenance", "by their addresses"},
		{"top chat", "takes no argument"},
		{"top --interval=0s", "--interval: it must be more than nothing"},
		{"top --sort=name", `--sort: "name" is none of`},
		{"top --gateway=", "--gateway: it must not be empty"},
	})
}
