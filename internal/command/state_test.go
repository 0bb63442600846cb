package command

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestStatesOfUpstreamsAreSet(t *testing.T) {
	t.Parallel()
	const gone = `404 {"error":"no gateway has an upstream"}`
	for _, state := range []string{"drain", "ready", "maintenance"} {
		a, b := fmt.Sprintf(`{"address":"a:1","state":%q}`, state), fmt.Sprintf(`{"address":"unix//b+c","state":%q}`, state)
		sentA, sentB := fmt.Sprintf(`POST /ws_gateway/upstreams?address=a%%3A1 {"state":%q}`, state), fmt.Sprintf(`POST /ws_gateway/upstreams?address=unix%%2F%%2Fb%%2Bc {"state":%q}`, state)
		rows := []struct {
			args    string
			answers []string
			status  int
			sent    []string
			out     string
			says    []string
		}{
			{"a:1", []string{"200 " + a}, 0, []string{sentA}, "ADDRESS  STATE\na:1      " + state + "\n", nil},
			{"a:1 unix//b+c", []string{"200 " + a, "200 " + b}, 0, []string{sentA, sentB}, "ADDRESS    STATE\na:1        " + state + "\nunix//b+c  " + state + "\n", nil},
			{"a:1 unix//b+c --json", []string{"200 " + a, "200 " + b}, 0, []string{sentA, sentB}, "[" + a + "," + b + "]\n", nil},
			{"a:1 unix//b+c", []string{gone, "200 " + b}, exitRefused, []string{sentA, sentB}, "ADDRESS    STATE\nunix//b+c  " + state + "\n", []string{`upstream "a:1": the admin endpoint`}},
			{"a:1", []string{gone}, exitRefused, []string{sentA}, "", []string{"no gateway has an upstream"}},
			{"a:1 b:2 c:3", []string{gone, ""}, exitUnreachable, nil, "", []string{`upstream "a:1": the admin endpoint`, "cannot reach"}},
		}
		for _, row := range rows {
			t.Run(state+" "+row.args, func(t *testing.T) {
				t.Parallel()
				endpoint := newFakeEndpoint(t, row.answers...)
				r := runAt(t, endpoint, append([]string{state}, strings.Fields(row.args)...)...)
				if r.status != row.status || r.out != row.out || strings.Count(r.errors, "\n") != len(row.says) {
					t.Errorf("came to %+v", r)
				}
				for _, says := range row.says {
					if !strings.Contains(r.errors, says) {
						t.Errorf("%q is missing in %q", says, r.errors)
					}
				}
				if sent := endpoint.requests(); row.sent != nil && !slices.Equal(sent, row.sent) {
					t.Errorf("sent was %q and should be %q", sent, row.sent)
				}
			})
		}
	}
}

// liveAnswer is an answer with the upstreams a:1, of two gateways, and b:2.
func liveAnswer(state string, first, second, other int) string {
	return fmt.Sprintf(`200 [{"name":"x","upstreams":[{"address":"a:1","state":%q,"live":%d}]},`+
		`{"name":"y","upstreams":[{"address":"a:1","state":%[1]q,"live":%[3]d},{"address":"b:2","state":"ready","live":%d}]}]`, state, first, second, other)
}

func TestWaitingForADrainOfAnUpstream(t *testing.T) {
	t.Parallel()
	const set = `200 {"address":"a:1","state":"drain"}`
	const out = "ADDRESS  STATE\na:1      drain\n"
	rows := []struct {
		name, args string
		answers    []string
		status     int
		out, says  string
	}{
		{"until nothing is live there", "", []string{set, liveAnswer("drain", 1, 2, 9), liveAnswer("drain", 0, 1, 9), liveAnswer("drain", 0, 0, 9)}, 0, out, ""},
		{"with nothing live at all", "", []string{set, liveAnswer("drain", 0, 0, 9)}, 0, out, ""},
		{"that is no one's any more", "", []string{set, liveAnswer("drain", 1, 1, 9), "200 []"}, 0, out, ""},
		{"as JSON", "--json", []string{set, liveAnswer("drain", 1, 2, 9), liveAnswer("drain", 0, 0, 9)}, 0, "[" + set[4:] + "]\n", ""},
		{"no longer than the timeout", "--timeout 3s", []string{set, liveAnswer("drain", 1, 0, 9)}, exitRefused, out, "1 connection left after 3s: the upstream goes on draining"},
		{"of two", "a:1 --timeout 3s", []string{set, set, liveAnswer("drain", 1, 0, 9)}, exitRefused, "ADDRESS  STATE\na:1      drain\na:1      drain\n", "the upstreams go on draining"},
		{"with a break", "", []string{set, liveAnswer("drain", 1, 1, 9), "", liveAnswer("drain", 0, 0, 9)}, 0, out, ""},
		{"with the endpoint gone", "", []string{set, liveAnswer("drain", 1, 2, 9), ""}, exitUnreachable, out, "gone, with 3 connections left when it last answered: cannot reach"},
		{"with the endpoint gone at once", "", []string{set, ""}, exitUnreachable, out, "cannot reach"},
		{"that is made ready", "", []string{set, liveAnswer("drain", 1, 2, 9), liveAnswer("ready", 1, 1, 9)}, exitRefused, out, `the upstream "a:1" is drained no longer, with 2 connections left`},
		{"that is refused", "", []string{`404 {"error":"no"}`}, exitRefused, "", `upstream "a:1": the admin endpoint`},
		{"that is refused for one", "b:2", []string{set, `404 {"error":"no"}`}, exitRefused, out, `upstream "b:2": the admin endpoint`},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			endpoint := newFakeEndpoint(t, row.answers...)
			runAt(t, endpoint, append([]string{"drain", "--wait", "a:1"}, strings.Fields(row.args)...)...).expect(t, row.status, row.out, row.says)
			sent := endpoint.requests()
			if !strings.HasPrefix(sent[0], "POST ") || len(sent) < len(row.answers) || slices.ContainsFunc(sent[strings.Count(row.args, ":")+1:], func(request string) bool { return request != "GET /ws_gateway/" }) {
				t.Errorf("sent was %q", sent)
			}
		})
	}
}
