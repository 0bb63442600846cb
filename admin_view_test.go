package wsgateway

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

// viewedAs is what is shown of one gateway, as generic JSON.
func viewedAs(t *testing.T, name string) map[string]any {
	t.Helper()
	text, err := json.Marshal(process.View())
	if err != nil {
		t.Fatal(err)
	}
	var gateways []map[string]any
	if err := json.Unmarshal(text, &gateways); err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(gateways, func(g map[string]any) bool { return g["name"] == name })
	if at < 0 {
		return nil
	}
	return gateways[at]
}

// The line is woken by everything that happens in the process, which a bubble
// allows to nobody outside: this one runs alone.
func TestViewHasExactlyTheseFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		addresses := addressesOf(t, 4)
		h := load(t, "view", &WeightedLeastConn{Weights: []int{2, 1, 1, 0}}, addresses, func(h *Handler) {
			h.MaxConns, h.Queue = 2, &Queue{Size: 5}
		})
		h.balancer.members[1].Source = downSource{h.balancer.members[1].Source}
		process.SetState(addresses[2], balance.Maintenance)
		process.Failed("view", addresses[0])
		var clients []*bubble.Peer
		for range 2 {
			client, _, at, _ := connectTo(h)
			if at != addresses[0] {
				t.Fatalf("connected to %s", at)
			}
			clients = append(clients, client)
		}
		_ = clients[0].Close()
		elapse(time.Minute)
		again, _, _, _ := connectTo(h)
		place := h.balancer.Line(nil)

		upstream := func(i int, state string, weight, live, opened, failed float64) map[string]any {
			return map[string]any{"address": addresses[i], "state": state, "weight": weight, "live": live, "streams": 0.0, "opened": opened, "failed": failed}
		}
		want := map[string]any{"name": "view", "queued": 1.0, "limits": map[string]any{}, "upstreams": []any{
			upstream(0, "ready", 2, 2, 3, 1), upstream(1, "unhealthy", 1, 0, 0, 0),
			upstream(2, "maintenance", 1, 0, 0, 0), upstream(3, "ready", 0, 0, 0, 0),
		}}
		activity := map[string]any{
			"handshakes": map[string]any{}, "closes": map[string]any{"client 1011": 1.0}, "refused": []any{},
			"messages_from_client": 0.0, "messages_from_upstream": 0.0, "bytes_from_client": 0.0, "bytes_from_upstream": 0.0,
		}
		maps.Copy(want, activity)
		if got := viewedAs(t, "view"); !reflect.DeepEqual(got, want) {
			t.Errorf("got\n%v, want\n%v", got, want)
		}

		place.Leave()
		process.SetState(addresses[2], balance.Ready)
		unload(t, h) // only what is live is shown now
		want = map[string]any{"name": "view", "queued": 0.0, "limits": map[string]any{}, "upstreams": []any{upstream(0, "ready", 1, 2, 3, 1)}}
		maps.Copy(want, activity)
		if got := viewedAs(t, "view"); !reflect.DeepEqual(got, want) {
			t.Errorf("after it was unloaded: got\n%v, want\n%v", got, want)
		}
		_ = clients[1].Close()
		_ = again.Close()
		elapse(time.Minute)
		if got := viewedAs(t, "view"); got != nil {
			t.Errorf("it is still shown: %v", got)
		}
	})
}

// downSource is an upstream that its health checks have taken out.
type downSource struct{ balance.Source }

func (downSource) Healthy() bool { return false }

func TestWhatAnOperatorSaidIsShownBeforeHealth(t *testing.T) {
	t.Parallel()
	addresses := addressesOf(t, 1)
	h := load(t, "view-down", new(reverseproxy.LeastConnSelection), addresses, nil)
	defer unload(t, h)
	h.balancer.members[0].Source = downSource{h.balancer.members[0].Source}
	for state, want := range map[balance.State]string{balance.Drain: "drain", balance.Maintenance: "maintenance", balance.Ready: "unhealthy"} {
		process.SetState(addresses[0], state)
		upstreams, _ := viewedAs(t, "view-down")["upstreams"].([]any)
		if got, _ := upstreams[0].(map[string]any); got["state"] != want {
			t.Errorf("shown as %v, want %s", got["state"], want)
		}
	}
	process.SetState(addresses[0], balance.Ready)
}

func TestHandlersOfOneNameAreShownAsOne(t *testing.T) {
	t.Parallel()
	addresses := addressesOf(t, 3)
	one := load(t, "view-shared", new(reverseproxy.LeastConnSelection), addresses[:2], func(h *Handler) { h.MaxConns, h.Queue = 1, &Queue{Size: 5} })
	defer unload(t, one)
	two := load(t, "view-shared", new(reverseproxy.LeastConnSelection), addresses[1:], func(h *Handler) { h.MaxConns, h.Queue = 1, &Queue{Size: 5} })
	defer unload(t, two)
	for _, h := range []*Handler{one, two} {
		place := h.balancer.Line(nil)
		defer place.Leave()
	}
	got := viewedAs(t, "view-shared")
	upstreams, _ := got["upstreams"].([]any)
	if len(upstreams) != 3 || got["queued"] != 2.0 {
		t.Errorf("shown as %v, want 3 upstreams, and 2 that wait", got)
	}
}

func TestWeightsOfHandlersOfOneNameAreAllShownWhereTheyDiffer(t *testing.T) {
	t.Parallel()
	addresses := addressesOf(t, 4)
	one := load(t, "view-weights", &WeightedLeastConn{Weights: []int{2, 1, 5}}, addresses[:3], nil)
	defer unload(t, one)
	two := load(t, "view-weights", &WeightedLeastConn{Weights: []int{2, 3, 0}}, []string{addresses[0], addresses[1], addresses[3]}, nil)
	defer unload(t, two)
	upstreams, _ := viewedAs(t, "view-weights")["upstreams"].([]any)
	var got []string
	for _, up := range upstreams {
		shown, _ := up.(map[string]any)
		got = append(got, fmt.Sprint(shown["weight"], shown["weights"]))
	}
	if want := []string{"2 <nil>", "3 [1 3]", "5 <nil>", "0 <nil>"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestGatewayWithoutUpstreamsHasAnEmptyList(t *testing.T) {
	t.Parallel()
	h := load(t, "view-empty", new(reverseproxy.LeastConnSelection), []string{"{tenant}:80"}, nil)
	defer unload(t, h)
	if upstreams, ok := viewedAs(t, "view-empty")["upstreams"].([]any); !ok || len(upstreams) != 0 {
		t.Errorf("shown as %v, want an empty list", viewedAs(t, "view-empty"))
	}
}

// The process forgets by its time, which is not that of a bubble: this runs alone.
func TestCountsOfADynamicUpstreamGoOnWhenNothingWasLiveThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const gateway = "totals"
		addresses := addressesOf(t, 2)
		h := load(t, gateway, new(reverseproxy.LeastConnSelection), []string{"{tenant}:80"}, func(h *Handler) {
			h.Proxy.DynamicUpstreams = noSource{}
		})
		h.Proxy.Upstreams = pool(addresses[:1]...)
		h.noteDynamic(h.Proxy.Upstreams)
		process.Failed(gateway, addresses[0]) // before anything was live
		for range 3 {
			client, _, _, _ := connectTo(h)
			elapse(time.Minute)
			_ = client.Close()
			elapse(time.Minute)
			process.Failed(gateway, addresses[0])
		}
		upstreams, _ := viewedAs(t, gateway)["upstreams"].([]any)
		got := fmt.Sprint(upstreams...)
		if want := fmt.Sprintf("map[address:%s failed:4 live:0 opened:3 state:ready streams:0 weight:1]", addresses[0]); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		unload(t, h)
		if got := viewedAs(t, gateway); got != nil {
			t.Errorf("shown although nothing is loaded or live: %v", got)
		}
	})
}
