package wsgateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

// adminDo asks the admin API as Caddy's endpoint does.
func adminDo(t *testing.T, method, path, body string) *http.Response {
	t.Helper()
	keepRecords(t)
	mux := http.NewServeMux()
	for _, route := range (adminAPI{}).Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			err := route.Handler.ServeHTTP(w, r)
			if err == nil {
				return
			}
			var apiError caddy.APIError
			if !errors.As(err, &apiError) || apiError.Err == nil {
				t.Errorf("%s %s: %v has no status or does not say why", method, path, err)
				return
			}
			w.WriteHeader(apiError.HTTPStatus)
			_, _ = io.WriteString(w, apiError.Err.Error())
		})
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w.Result()
}

func TestAdminRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	address := "0." + addressesOf(t, 1)[0] // among the first that are known
	process.Ledger.Want(address, 1)
	t.Cleanup(func() { process.Ledger.Want(address, -1) })
	const byAddress = "/ws_gateway/upstreams?address="
	upstream := "/ws_gateway/upstreams/" + address
	const drain = `{"state":"drain"}`
	for name, row := range map[string]struct {
		method, path, body string
		want               int
		says               string
	}{
		"unknown upstream":        {"POST", "/ws_gateway/upstreams/nobody:80", drain, 404, "nobody:80"},
		"no upstream":             {"POST", "/ws_gateway/upstreams/", drain, 404, "upstream"},
		"unknown page":            {"GET", "/ws_gateway/nothing", "", 404, "nothing"},
		"unknown state":           {"POST", upstream, `{"state":"asleep"}`, 400, "use ready, drain or maintenance"},
		"state that is no word":   {"POST", upstream, `{"state":1}`, 400, "body"},
		"health is no such state": {"POST", upstream, `{"state":"unhealthy"}`, 400, "unhealthy"},
		"no state":                {"POST", upstream, `{}`, 400, "use ready, drain or maintenance"},
		"no body":                 {"POST", upstream, "", 400, "body"},
		"not JSON":                {"POST", upstream, "drain", 400, "body"},
		"an unknown field":        {"POST", upstream, `{"state":"drain","for":"1m"}`, 400, "for"},
		"something after it":      {"POST", upstream, drain + drain, 400, "body"},
		"too much":                {"POST", upstream, `{"state":"` + strings.Repeat("x", maxAdminBody) + `"}`, 400, "body"},
		"unknown, with no state":  {"POST", "/ws_gateway/upstreams/nobody:80", "", 400, "body"},
		"reading an upstream":     {"GET", upstream, "", 405, "method"},
		"deleting an upstream":    {"DELETE", upstream, "", 405, "method"},
		"putting an upstream":     {"PUT", upstream, drain, 405, "method"},
		"posting to the list":     {"POST", "/ws_gateway/", drain, 405, "method"},
		"a member twice":          {"POST", upstream, `{"state":"drain","state":"ready"}`, 400, "stands twice"},
		"twice, one escaped":      {"POST", upstream, `{"state":"drain","st\u0061te":"ready"}`, 400, "stands twice"},
		"another case":            {"POST", upstream, `{"State":"drain"}`, 400, `"State" is unknown`},
		"state is null":           {"POST", upstream, `{"state":null}`, 400, "state must be a text"},
		"an array":                {"POST", upstream, `["drain"]`, 400, "not a JSON object"},
		"blanks beyond the limit": {"POST", upstream, drain + strings.Repeat(" ", maxAdminBody), 400, "more than"},
		"unknown parameter":       {"POST", upstream + "?upstream=a", drain, 400, `"upstream": allowed is address`},
		"path and parameter":      {"POST", upstream + "?address=" + address, drain, 400, "not both"},
		"parameter twice":         {"POST", byAddress + address + "&address=" + address, drain, 400, "address must be given once"},
		"parameter is empty":      {"POST", byAddress, drain, 400, "must not be empty"},
		"damaged query":           {"POST", byAddress + "%zz", drain, 400, "query is damaged"},
		"unknown by parameter":    {"POST", byAddress + "nobody:80", drain, 404, strconv.Quote(address)},
		"unknown, the known":      {"POST", "/ws_gateway/upstreams/nobody:80", drain, 404, strconv.Quote(address)},
		"no slash, no address":    {"POST", "/ws_gateway/upstreams", drain, 404, strconv.Quote(address)},
		"reading by parameter":    {"GET", byAddress + address, "", 405, "method"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res := adminDo(t, row.method, row.path, row.body)
			said, _ := io.ReadAll(res.Body)
			if res.StatusCode != row.want || !strings.Contains(string(said), row.says) {
				t.Errorf("%d %s, want %d and %q in it", res.StatusCode, said, row.want, row.says)
			}
			if allow := res.Header.Get("Allow"); (allow != "") != (row.want == 405) {
				t.Errorf("Allow is %q", allow)
			}
			if state := process.Ledger.Look(address).State; state != balance.Ready {
				t.Errorf("it is %s after a request that was refused", state)
			}
		})
	}
}

func TestAdminSetsTheStateOfAnyAddress(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]string{
		"host and port": "admin-host:80", "IPv6": "[::1]:8765", "unix socket": "unix//run/admin test.sock", "unix, abstract": "unix/@admin",
		"percent": "admin-%41:80", "port alone": ":18765",
	} {
		for how, written := range map[string]string{
			"escaped": "/" + url.PathEscape(address), "all escaped": "/" + escapeAll(address),
			"parameter": "?address=" + url.QueryEscape(address), "parameter behind a slash": "/?address=" + escapeAll(address),
		} {
			t.Run(name+"/"+how, func(t *testing.T) {
				process.Ledger.Want(address, 1)
				defer process.Ledger.Want(address, -1)
				for _, state := range []string{"drain", "maintenance", "ready"} {
					res := adminDo(t, http.MethodPost, "/ws_gateway/upstreams"+written, `{"state":"`+state+`"}`)
					var got struct{ Address, State string }
					if err := json.NewDecoder(res.Body).Decode(&got); err != nil || res.StatusCode != 200 {
						t.Fatalf("%s: status %d, %v", state, res.StatusCode, err)
					}
					if got.Address != address || got.State != state {
						t.Errorf("answered %+v", got)
					}
					if is := process.Ledger.Look(address).State.String(); is != state {
						t.Errorf("is %s, want %s", is, state)
					}
				}
			})
		}
	}
}

func TestAdminTakesAnAddressAsItIsConfigured(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ known, target string }{
		"two slashes in a parameter":          {"unix//run/as-is.sock", "?address=unix//run/as-is.sock"},
		"behind a slash":                      {"unix//run/as-is.sock", "/?address=unix//run/as-is.sock"},
		"slashes that HTTP made one":          {"unix//run/as-is.sock", "/unix/run/as-is.sock"},
		"two slashes, redirected":             {"unix//run/as-is.sock", "/unix//run/as-is.sock"},
		"a scheme, redirected":                {"as-is:80", "/http://as-is:80"},
		"a scheme that HTTP changed":          {"as-is:80", "/http:/as-is:80"},
		"a scheme alone":                      {"as-is:80", "/http:/as-is"},
		"a scheme in a parameter":             {"as-is:80", "?address=http://AS-IS"},
		"an unclean path":                     {"unix//run/../as-is.sock", "/unix//run/../as-is.sock"},
		"a plus in the network":               {"unix+h2c//run/as-is.sock", "?address=unix+h2c//run/as-is.sock"},
		"a plus in the path":                  {"unix//run/as+is.sock", "?address=unix//run/as+is.sock"},
		"a network, in the path":              {"udp/as-is:80", "/udp/as-is:80"},
		"relative, though there is the other": {"unix/run/both.sock", "/unix/run/both.sock"},
		"absolute, though there is the other": {"unix//run/both.sock", "?address=unix//run/both.sock"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, address := range []string{row.known, "unix/run/both.sock", "unix//run/both.sock"} {
				process.Ledger.Want(address, 1)
				defer process.Ledger.Want(address, -1)
			}
			target := "/ws_gateway/upstreams" + row.target
			res := adminDo(t, http.MethodPost, target, `{"state":"drain"}`)
			if res.StatusCode == http.StatusTemporaryRedirect { // which curl -L follows
				target = res.Header.Get("Location")
				res = adminDo(t, http.MethodPost, target, `{"state":"drain"}`)
			}
			defer process.SetState(row.known, balance.Ready)
			if said, _ := io.ReadAll(res.Body); res.StatusCode != 200 {
				t.Fatalf("%s: %d %s", target, res.StatusCode, said)
			}
			if state := process.Ledger.Look(row.known).State; state != balance.Drain {
				t.Errorf("%s is %s", row.known, state)
			}
		})
	}
}

func TestUnknownAddressIsNoGuess(t *testing.T) {
	t.Parallel()
	known := []string{"a:80", "unix//run/a/../x", "unix//run/b/../x"}
	for _, written := range []string{"unix/run/x", "b:80", "", ".", "/", "a", "unix/a:80"} {
		if address, ok := knownAddress(written, known); ok {
			t.Errorf("%q is taken for %s", written, address)
		}
	}
	many := make([]string, 1000)
	for i := range many {
		many[i] = fmt.Sprintf("host-%03d:80", i)
	}
	list := listAddresses(many)
	if !strings.Contains(list, `"host-000:80"`) || !strings.HasSuffix(list, "and 980 more") || len(list) > 1000 {
		t.Errorf("a thousand are listed as %q", list)
	}
}

func escapeAll(s string) string {
	var b strings.Builder
	for i := range len(s) {
		const digits = "0123456789ABCDEF"
		b.Write([]byte{'%', digits[s[i]>>4], digits[s[i]&15]})
	}
	return b.String()
}

func TestAdminListIsJSON(t *testing.T) {
	t.Parallel()
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		res := adminDo(t, method, "/ws_gateway/", "")
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s", method, res.StatusCode, res.Header.Get("Content-Type"))
		}
		var gateways []live.GatewayView
		if err := json.NewDecoder(res.Body).Decode(&gateways); err != nil || gateways == nil {
			t.Errorf("%s: %v, %v", method, gateways, err)
		}
	}
}

func TestDrainEndsConnectionsOverThePeriodAndReadyStopsIt(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		set, then balance.State
		left      int
	}{
		"drain":                       {balance.Drain, balance.Drain, 0},
		"drain, then ready":           {balance.Drain, balance.Ready, 20},
		"drain, then maintenance":     {balance.Drain, balance.Maintenance, 20},
		"maintenance":                 {balance.Maintenance, balance.Maintenance, 40},
		"maintenance, later drain":    {balance.Maintenance, balance.Drain, 20},
		"ready as it was":             {balance.Ready, balance.Ready, 40},
		"ready, then later, is ready": {balance.Ready, balance.Maintenance, 40},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const period = 20 * time.Second
				address := addressesOf(t, 1)[0]
				gateway := "states " + name
				h := load(t, gateway, new(reverseproxy.LeastConnSelection), []string{address}, func(h *Handler) {
					d := caddy.Duration(period)
					h.DrainPeriod = &d
				})
				var clients []*bubble.Peer
				for range 40 {
					client, _, _, _ := connectTo(h)
					clients = append(clients, client)
				}
				process.SetState(address, row.set)
				if _, _, _, refused := connectTo(h); (refused == balance.Dead) != (row.set != balance.Ready) {
					t.Errorf("a new connection is refused with %d", refused)
				}
				elapse(period / 2)
				process.SetState(address, row.then)
				elapse(period / 2)
				synctest.Wait()
				left := row.left
				if row.set == balance.Ready {
					left++ // the new one
				}
				if got := loads(gateway, []string{address})[0]; got != left {
					t.Errorf("%d are left, want %d", got, left)
				}
				for _, client := range clients {
					_ = client.Close()
				}
				process.SetState(address, balance.Ready)
				unload(t, h)
				elapse(time.Minute)
			})
		})
	}
}
