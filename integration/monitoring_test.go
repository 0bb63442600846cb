package integration

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const monitoring = "../examples/monitoring"

// metricName is one in an expression of Prometheus.
var metricName = regexp.MustCompile(`\b(?:caddy|process|go)_[a-z_]+`)

// typesOf are the metrics of a page with their types.
func typesOf(page string) map[string]string {
	types := make(map[string]string)
	for line := range strings.Lines(page) {
		if fields := strings.Fields(line); len(fields) == 4 && fields[1] == "TYPE" {
			types[fields[2]] = fields[3]
		}
	}
	return types
}

// busyPage is a scrape of a gateway that has something to say by each of its metrics.
func busyPage(t *testing.T) string {
	t.Helper()
	b := newBackend(t, echo)
	g := start(t, "ws_gateway {\n name busy\n to "+b.addr+"\n max_conns 1\n queue 1 50ms\n ping 20ms 10s\n messages {\n filter \"false\"\n }\n limit {\n connections 5\n }\n }\n"+
		"ws_gateway /capped {\n name busy\n to "+b.addr+"\n limit {\n handshakes_per_ip 1/1h\n }\n }")
	conn := overWS.open(t, g, "/ws", nil)
	overWS.refused(t, g, "/ws", nil, 503)
	overWS.do(t, g, "/capped", http.Header{"Sec-WebSocket-Version": {"9"}})
	eventually(t, "a limit that is met", func() bool {
		overWS.do(t, g, "/capped", nil)
		return g.of(t, "busy", "limited_total") > 0
	})
	f, err := conn.next()
	if err != nil {
		t.Fatal(err)
	}
	conn.mustSend(t, frame{fin: true, op: opPong, payload: f.payload})
	eventually(t, "an answer that is measured", func() bool { return g.of(t, "busy", "ping_rtt_seconds_count") > 0 })
	conn.mustSend(t, text("for nobody"))
	eventually(t, "a message that is dropped", func() bool { return g.of(t, "busy", "message_verdicts_total") > 0 })
	conn.mustSend(t, closing(1000, ""))
	conn.expectClose(t, 1000)
	conn.kill()
	g.waitConnections(t, 0)
	_, page := g.metrics(t)
	return page
}

// fleetMetrics are those of a gateway in a fleet, which the tests of fleets look for.
var fleetMetrics = map[string]string{
	"caddy_ws_gateway_fleet_up":                "gauge",
	"caddy_ws_gateway_fleet_nodes":             "gauge",
	"caddy_ws_gateway_fleet_operation_seconds": "histogram",
}

// TestExpressionsForMonitoringNameMetricsThatExist and every metric of ours stands in one
// of them, and in the documentation.
func TestExpressionsForMonitoringNameMetricsThatExist(t *testing.T) {
	page := busyPage(t)
	types := typesOf(page)
	maps.Copy(types, fleetMetrics)
	series := make(map[string]bool)
	for name, kind := range types {
		series[name] = true
		if kind == "histogram" {
			series[name+"_bucket"], series[name+"_sum"], series[name+"_count"] = true, true, true
		}
	}
	named := make(map[string]bool)
	for _, file := range []string{"dashboard.json", "alerts.yaml", "alerts.test.yaml"} {
		text, err := os.ReadFile(filepath.Join(monitoring, file))
		if err != nil {
			t.Fatal(err)
		}
		names := metricName.FindAllString(string(text), -1)
		if len(names) < 10 {
			t.Errorf("%s names only %q", file, names)
		}
		for _, name := range names {
			named[name] = true
			if !series[name] {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
	}
	manual, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range types {
		if !strings.HasPrefix(name, "caddy_ws_gateway_") {
			continue
		}
		if !named[name] && !named[name+"_bucket"] {
			t.Errorf("%s is neither in the dashboard nor in an alert", name)
		}
		if !strings.Contains(string(manual), "`"+strings.TrimPrefix(name, "caddy_ws_gateway")+"`") && !strings.Contains(string(manual), "`"+name+"`") {
			t.Errorf("docs/operations.md has no metric %s", name)
		}
	}
}

// TestDashboardIsSound as far as that shows without Grafana: panels have names and
// queries, and none lies over another.
func TestDashboardIsSound(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(monitoring, "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		UID    string `json:"uid"`
		Panels []struct {
			ID                       int
			Type, Title, Description string
			GridPos                  struct{ X, Y, W, H int }
			Targets                  []struct{ RefID, Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil || dashboard.UID == "" || len(dashboard.Panels) < 10 {
		t.Fatalf("%d panels, %v", len(dashboard.Panels), err)
	}
	type place struct{ x, y int }
	taken, ids := make(map[place]string), make(map[int]bool)
	for _, p := range dashboard.Panels {
		if ids[p.ID] || p.Title == "" || p.Type != "row" && (len(p.Targets) == 0 || p.Description == "") {
			t.Errorf("the panel %q has no text, no query or no ID of its own", p.Title)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			if strings.Count(target.Expr, "(") != strings.Count(target.Expr, ")") || target.Expr == "" {
				t.Errorf("the panel %q has the query %q", p.Title, target.Expr)
			}
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := place{p.GridPos.X + x, p.GridPos.Y + y}
				if other, is := taken[at]; is || at.x >= 24 {
					t.Fatalf("the panel %q lies over %q", p.Title, other)
				}
				taken[at] = p.Title
			}
		}
	}
}

// promtool runs Prometheus' own tool.
func promtool(t *testing.T, in string, args ...string) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	need(t, err != nil, "there is no promtool, which is in Debian's package prometheus")
	cmd := exec.CommandContext(t.Context(), tool, args...)
	cmd.Dir, cmd.Stdin = monitoring, strings.NewReader(in)
	if out, err := cmd.CombinedOutput(); err != nil || slices.Contains(args, "metrics") && len(out) > 0 {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPromtoolTakesTheAlerts(t *testing.T) {
	t.Parallel()
	promtool(t, "", "check", "rules", "alerts.yaml")
	promtool(t, "", "test", "rules", "alerts.test.yaml")
}

// TestPromtoolFindsNothingAmissWithTheMetrics of ours on a real scrape. What Caddy and Go
// have there beside is not ours to judge.
func TestPromtoolFindsNothingAmissWithTheMetrics(t *testing.T) {
	var ours strings.Builder
	for line := range strings.Lines(busyPage(t)) {
		if name := metricName.FindString(line); strings.HasPrefix(name, "caddy_ws_gateway_") {
			ours.WriteString(line)
		}
	}
	if strings.Count(ours.String(), "# TYPE") < 15 {
		t.Fatalf("the scrape is\n%s", ours.String())
	}
	promtool(t, ours.String(), "check", "metrics")
}
