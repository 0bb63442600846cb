package wsgateway

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

// askNode sends a request for the node of a set.
func askNode(set *live.Set, method, target, body string) (status int, answer, allow string) {
	rec := httptest.NewRecorder()
	err := adminNode(set, alone(set))(rec, httptest.NewRequest(method, nodePath+target, strings.NewReader(body)))
	if err != nil {
		return apiStatus(err), err.Error(), rec.Header().Get("Allow")
	}
	return rec.Code, rec.Body.String(), rec.Header().Get("Allow")
}

func TestAdminRefusesWhatIsNoStateOfTheNode(t *testing.T) {
	t.Parallel()
	const drain = `{"state":"drain"}`
	for name, row := range map[string]struct {
		method, target, body string
		want                 int
		says                 string
	}{
		"no body":               {"POST", "", ``, 400, `{"state": "drain"|"ready"`},
		"not JSON":              {"POST", "", `drain`, 400, "the body must be"},
		"an array":              {"POST", "", `["drain"]`, 400, "not a JSON object"},
		"something after it":    {"POST", "", drain + drain, 400, "the body must be"},
		"no state":              {"POST", "", `{}`, 400, "state must be a text: use drain or ready"},
		"only a period":         {"POST", "", `{"period":"30s"}`, 400, "state must be a text"},
		"state is a number":     {"POST", "", `{"state":1}`, 400, "state must be a text"},
		"state is null":         {"POST", "", `{"state":null}`, 400, "state must be a text"},
		"unknown state":         {"POST", "", `{"state":"asleep"}`, 400, `state "asleep" is unknown: use drain or ready`},
		"state of an upstream":  {"POST", "", `{"state":"maintenance"}`, 400, "use drain or ready"},
		"state in capitals":     {"POST", "", `{"state":"Drain"}`, 400, "use drain or ready"},
		"a long state":          {"POST", "", `{"state":"` + strings.Repeat("x", 1000) + `"}`, 400, `x" is unknown`},
		"unknown member":        {"POST", "", `{"state":"drain","for":"30s"}`, 400, `"for" is unknown`},
		"another case":          {"POST", "", `{"State":"drain"}`, 400, `"State" is unknown`},
		"state twice":           {"POST", "", `{"state":"drain","state":"ready"}`, 400, "stands twice"},
		"period twice":          {"POST", "", `{"state":"drain","period":1,"per\u0069od":2}`, 400, "stands twice"},
		"no duration":           {"POST", "", `{"state":"drain","period":"soon"}`, 400, `period "soon" is no duration: write it as "30s"`},
		"no unit":               {"POST", "", `{"state":"drain","period":"30"}`, 400, `period "30" is no duration`},
		"empty period":          {"POST", "", `{"state":"drain","period":""}`, 400, `period "" is no duration`},
		"period too long":       {"POST", "", `{"state":"drain","period":"1000000d"}`, 400, `period "1000000d" is no duration`},
		"negative period":       {"POST", "", `{"state":"drain","period":"-1s"}`, 400, `period must not be negative: "0s" ends all at once`},
		"negative number":       {"POST", "", `{"state":"drain","period":-1}`, 400, "period must not be negative"},
		"a broken number":       {"POST", "", `{"state":"drain","period":1.5}`, 400, "whole number of nanoseconds"},
		"number too large":      {"POST", "", `{"state":"drain","period":9223372036854775808}`, 400, "whole number of nanoseconds"},
		"period is null":        {"POST", "", `{"state":"drain","period":null}`, 400, "period must be a text"},
		"period is a list":      {"POST", "", `{"state":"drain","period":["30s"]}`, 400, "period must be a text"},
		"period with ready":     {"POST", "", `{"state":"ready","period":"30s"}`, 400, "period goes with drain only"},
		"period, unknown state": {"POST", "", `{"state":"asleep","period":"30s"}`, 400, "use drain or ready"},
		"too much":              {"POST", "", drain + strings.Repeat(" ", maxNodeBody), 400, "more than 65536 bytes"},
		"unknown parameter":     {"POST", "?period=30s", drain, 400, `unknown parameter "period"`},
		"parameter of GET":      {"GET", "?id=x", ``, 400, `unknown parameter "id"`},
		"damaged query":         {"GET", "?%zz", ``, 400, "query is damaged"},
		"deleting it":           {"DELETE", "", ``, 405, "use GET or HEAD or POST"},
		"putting it":            {"PUT", "", drain, 405, "use GET or HEAD or POST"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := live.NewSet(live.Reports{}, caddy.Exiting)
			status, said, allow := askNode(set, row.method, row.target, row.body)
			if status != row.want || !strings.Contains(said, row.says) || len(said) > 300 {
				t.Errorf("%d %s, want %d and %q in it", status, said, row.want, row.says)
			}
			if want := map[bool]string{true: "GET, HEAD, POST"}[row.want == 405]; allow != want {
				t.Errorf("Allow is %q, want %q", allow, want)
			}
			if _, draining := set.NodeDraining(); draining {
				t.Error("it drains after a request that was refused")
			}
		})
	}
}

func TestAdminSetsTheStateOfTheNode(t *testing.T) {
	t.Parallel()
	set := live.NewSet(live.Reports{}, caddy.Exiting)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	none := time.Duration(-1)
	for _, row := range []struct {
		method, body, state string
		period              time.Duration // -1 for none
	}{
		{"GET", ``, "ready", none},
		{"POST", `{"state":"ready"}`, "ready", none},
		{"POST", `{"state":"drain"}`, "drain", none},
		{"POST", `{"state":"drain","period":"30s"}`, "drain", 30 * time.Second},
		{"GET", ``, "drain", 30 * time.Second},
		{"POST", `{"period":"1d","state":"drain"}`, "drain", 24 * time.Hour},
		{"POST", `{"state":"drain","period":"0s"}`, "drain", 0},
		{"POST", `{"state":"drain","period":1500000000}`, "drain", 1500 * time.Millisecond},
		{"POST", `{"state":"drain","period":0}`, "drain", 0},
		{"POST", `{"state":"drain"}` + strings.Repeat(" ", maxNodeBody-17), "drain", none},
		{"POST", `{"state":"ready"}`, "ready", none},
	} {
		status, said, _ := askNode(set, row.method, "", row.body)
		var got map[string]any
		if err := json.Unmarshal([]byte(said), &got); err != nil || status != 200 {
			t.Fatalf("%s %s: %d %s", row.method, row.body, status, said)
		}
		since, err := time.Parse(time.RFC3339, got["since"].(string))
		if err != nil || since.Location() != time.UTC {
			t.Errorf("%s: since %v, %v", row.body, got["since"], err)
		}
		fields := 5
		if row.state == "drain" {
			fields = 6 // ends_at
		}
		if len(got) != fields || got["name"] != host || got["id"] != set.ID || got["state"] != row.state || got["live"] != 0.0 {
			t.Errorf("%s: answered %s", row.body, said)
		}
		if at, _ := got["ends_at"].(string); (at != "") != (row.state == "drain") {
			t.Errorf("%s: ends at %q", row.body, at)
		}
		period, draining := set.NodeDraining()
		if draining != (row.state == "drain") || (period == nil) != (row.period == none) || period != nil && *period != row.period {
			t.Errorf("%s: draining is %t, in %v", row.body, draining, period)
		}
	}
}
