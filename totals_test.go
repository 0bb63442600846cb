package wsgateway

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

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
		process.failed(seriesKey{gateway, addresses[0]}) // before anything was live
		for range 3 {
			client, _, _, _ := connectTo(h)
			elapse(time.Minute)
			_ = client.Close()
			elapse(time.Minute)
			process.failed(seriesKey{gateway, addresses[0]})
		}
		upstreams, _ := viewedAs(t, gateway)["upstreams"].([]any)
		got := fmt.Sprint(upstreams...)
		if want := fmt.Sprintf("map[address:%s failed:4 live:0 opened:3 state:ready weight:1]", addresses[0]); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		unload(t, h)
		if got := viewedAs(t, gateway); got != nil {
			t.Errorf("shown although nothing is loaded or live: %v", got)
		}
	})
}

func TestTotalsOfAbsentUpstreamsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRegistry()
		key := func(i int) seriesKey { return seriesKey{"gw", fmt.Sprintf("pod-%d:80", i)} }
		for i := range 3 * totalsMost {
			g.failed(key(i))
			elapse(time.Millisecond)
			if n := len(g.absent.kept); n > totalsMost {
				t.Fatalf("%d are kept", n)
			}
		}
		if g.absent.kept[key(3*totalsMost-1)] == nil || g.absent.kept[key(0)] != nil {
			t.Error("not those are kept that were there last")
		}
		there := &Handler{running: new(running)}
		there.noteDynamic(pool(key(3*totalsMost - 1).upstream))
		g.gateways["gw"] = []*Handler{there}
		elapse(totalsKept + time.Minute)
		g.failed(key(0))
		if n := len(g.absent.kept); n != 2 || g.absent.kept[key(3*totalsMost-1)] == nil {
			t.Errorf("%d are kept, want the one that failed now and the one that is there all the time", n)
		}
	})
}
