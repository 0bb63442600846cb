package command

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

func TestKillSaysHowManyHaveEnded(t *testing.T) {
	t.Parallel()
	const at = "DELETE /ws_gateway/connections"
	const gone = `404 {"error":"there is no such connection"}`
	rows := []struct {
		args    string
		answers []string
		status  int
		sent    []string
		out     string
		says    []string
	}{
		{"c1", []string{`200 {"ended":1}`}, 0, []string{at + "/c1"}, "ended 1 connection\n", nil},
		{"c1 c/2? --code 1012 --reason=bye", []string{`200 {"ended":1}`}, 0, []string{at + "/c1?code=1012&reason=bye", at + "/c%2F2%3F?code=1012&reason=bye"}, "ended 2 connections\n", nil},
		{"c1 --reason=", []string{`200 {"ended":1}`}, 0, []string{at + "/c1?reason="}, "ended 1 connection\n", nil},
		{"c1 c2 --json", []string{`200 {"ended":1}`}, 0, []string{at + "/c1", at + "/c2"}, `{"ended":2}` + "\n", nil},
		{"c1 c2 c3", []string{gone, `200 {"ended":1}`, gone}, exitRefused, []string{at + "/c1", at + "/c2", at + "/c3"}, "ended 1 connection\n", []string{`connection "c1": the admin`, `connection "c3": the admin`}},
		{"c1", []string{gone}, exitRefused, []string{at + "/c1"}, "", []string{"there is no such connection"}},
		{"c1 c2 c3", []string{`200 {"ended":1}`, ""}, exitUnreachable, nil, "ended 1 connection\n", []string{"cannot reach"}},
		{"--user a&b", []string{`200 {"ended":3}`}, 0, []string{at + "?user=a%26b"}, "ended 3 connections\n", nil},
		{"--user a", []string{`200 {"ended":0}`}, 0, []string{at + "?user=a"}, "ended 0 connections\n", nil},
		{"--gateway g --upstream u:1 --jti j --ip ::1 --user a --older-than 1h --yes --code 4000", []string{`200 {"ended":3}`}, 0,
			[]string{at + "?code=4000&gateway=g&ip=%3A%3A1&jti=j&older_than=1h&upstream=u%3A1&user=a"}, "ended 3 connections\n", nil},
		{"--user a --json", []string{`200 {"ended":3}`}, 0, []string{at + "?user=a"}, `{"ended":3}` + "\n", nil},
		{"--user a --code 1005", []string{`400 {"error":"code cannot be sent"}`}, exitRefused, []string{at + "?code=1005&user=a"}, "", []string{"400 Bad Request: code cannot be sent"}},
	}
	for _, row := range rows {
		t.Run(row.args, func(t *testing.T) {
			t.Parallel()
			endpoint := newFakeEndpoint(t, row.answers...)
			r := runAt(t, endpoint, append([]string{"kill"}, strings.Fields(row.args)...)...)
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

// TestAllNodesThatDidNotAnswerAreNamed also where another one did not answer the last
// request.
func TestAllNodesThatDidNotAnswerAreNamed(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	missing := []string{"a, b", "b, c", ""}
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if names := missing[requests.Add(1)-1]; names != "" {
			w.Header().Set("Ws-Gateway-Missing", names)
		}
		_, _ = io.WriteString(w, `{"ended":1}`)
	}))
	defer endpoint.Close()
	runCommand(t, "--address", endpoint.Listener.Addr().String(), "kill", "--fleet", "1", "2", "3").
		expect(t, 0, "ended 3 connections\n", "no answer from a, b, c: their connections")
}
