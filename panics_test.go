package wsgateway

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/dial"
	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/upgrade"
)

// panickyCore is a log that panics over some messages.
type panickyCore struct {
	zapcore.Core
	over []string
}

func (c panickyCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return checked.AddCore(e, c)
}

func (c panickyCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if slices.Contains(c.over, e.Message) {
		panic("secret of the log's")
	}
	return c.Core.Write(e, fields)
}

// panicLog returns a logger that panics over these messages, and what it logs
// otherwise.
func panicLog(over ...string) (*zap.Logger, *observer.ObservedLogs) {
	core, lines := observer.New(zap.InfoLevel)
	return zap.New(panickyCore{core, over}), lines
}

// panicsCounted is the value of panics_total. Tests that look at it are not parallel.
func panicsCounted(t *testing.T) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	if err := reg.Register(panicsTotal); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families[0].GetMetric()[0].GetLabel()) != 0 || families[0].GetName() != "caddy_ws_gateway_panics_total" {
		t.Errorf("the metric is %v", families[0])
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

// wantPanicLines wants so many panics to have been reported since before.
func wantPanicLines(t *testing.T, lines *observer.ObservedLogs, before float64, n int) {
	t.Helper()
	if got := panicsCounted(t) - before; got != float64(n) {
		t.Errorf("%v panics were counted, want %d", got, n)
	}
	found := lines.FilterMessage("panic").All()
	if len(found) != n {
		t.Fatalf("%d panics are in the log, want %d", len(found), n)
	}
	for _, line := range found {
		fields := line.ContextMap()
		stack, _ := fields["stack"].(string)
		if line.Level != zap.ErrorLevel || !strings.Contains(stack, ".go:") || fields["gateway"] == "" {
			t.Errorf("the line is %v with %v", line, fields)
		}
		if text, _ := fields["panic"].(string); text == "" || strings.Contains(text, "secret") {
			t.Errorf("it says %q of the panic", text)
		}
	}
}

// TestConnectionThatPanickedIsForgotten has the relay panic, the log, or both: the
// lease is given back, and the process knows nothing of the connection.
func TestConnectionThatPanickedIsForgotten(t *testing.T) {
	panicked := relay.Outcome{By: relay.Gateway, Code: 1011, Panic: &panics.Panic{What: "boom", Stack: "relay.go:1\n"}}
	for name, row := range map[string]struct {
		outcome        relay.Outcome
		over           []string
		counted, lines int
	}{
		"nothing":                 {relay.Outcome{}, nil, 0, 0},
		"the relay":               {panicked, nil, 1, 1},
		"the log":                 {relay.Outcome{}, []string{"closed"}, 1, 1},
		"both":                    {panicked, []string{"closed"}, 2, 2},
		"the log over its panics": {panicked, []string{"closed", "panic"}, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			logger, lines := panicLog(row.over...)
			gateway := "panicked " + name
			h := load(t, gateway, new(reverseproxy.LeastConnSelection), addressesOf(t, 1), nil)
			defer unload(t, h)
			defer process.ReportTo(gateway, logger)()
			lease := new(balance.Lease)
			h.balancer.choose(lease, balance.Ask{}, h.Proxy.Upstreams, nil, nil)
			c := process.NewConn(live.Details{ID: live.NewID(), Gateway: gateway, Lease: lease, Upstream: lease.Address()},
				lease.Address(), live.Authority{})
			process.Add(c)
			before := panicsCounted(t)
			c.Finish(row.outcome)
			if live := process.Ledger.Look(c.Upstream).Live; live != 0 {
				t.Errorf("%d places are taken", live)
			}
			if left := process.Staying(gateway); len(left) != 0 {
				t.Error("the connection is still known")
			}
			if row.lines != row.counted {
				if got := panicsCounted(t) - before; got != float64(row.counted) {
					t.Errorf("%v panics were counted, want %d", got, row.counted)
				}
				return
			}
			wantPanicLines(t, lines, before, row.counted)
			if want := 1 - len(row.over); lines.FilterMessage("closed").Len() != want {
				t.Errorf("%d lines of its end, want %d", lines.FilterMessage("closed").Len(), want)
			}
		})
	}
}

// panickyTransport is a module of somebody else's.
type panickyTransport struct{ panics bool }

func (p *panickyTransport) RoundTrip(*http.Request) (*http.Response, error) {
	if p.panics {
		panic("secret")
	}
	return nil, context.DeadlineExceeded
}

func TestProbeThatPanicsIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, lines := panicLog("upstream's WebSocket health changed")
		h := load(t, "probe panics", new(reverseproxy.LeastConnSelection), addressesOf(t, 2), func(h *Handler) {
			h.WebSocketHealth = new(WebSocketHealth)
		})
		defer unload(t, h)
		h.probes.logger = logger
		h.dialer = dial.New(&panickyTransport{panics: true}, time.Minute, clientIP)
		before := panicsCounted(t)
		ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
		defer cancel()
		go h.probes.run(ctx, h.dialer.Shake, h.currentMembers)
		synctest.Wait()
		if down := len(h.balancer.Down(h.balancer.members)); down != 2 {
			t.Errorf("%d are down, want both", down)
		}
		wantPanicLines(t, lines, before, 4) // of each the probe, and the log
		elapse(defaultProbeInterval)
		synctest.Wait()
		wantPanicLines(t, lines, before, 6) // it goes on, and nothing has changed
		cancel()
		synctest.Wait()
	})
}

// panickyBreaker is a circuit breaker of somebody else's.
type panickyBreaker struct{ calls int }

func (b *panickyBreaker) OK() bool                      { b.calls++; panic("secret") }
func (*panickyBreaker) RecordMetric(int, time.Duration) {}

// TestPanicInALookAtHealthDoesNotEndTheWatch has a circuit breaker panic, under
// the ledger's lock, in whatever looks at upstreams beside requests.
func TestPanicInALookAtHealthDoesNotEndTheWatch(t *testing.T) {
	for name, watch := range map[string]func(*Handler, context.Context){
		"drain_unhealthy": (*Handler).watchHealth,
		"rebalance":       (*Handler).rebalance,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				breaker := new(panickyBreaker)
				logger, lines := panicLog()
				h := load(t, "watch panics "+name, new(reverseproxy.LeastConnSelection), addressesOf(t, 1), func(h *Handler) {
					h.Proxy.CB = breaker
					h.Rebalance = &Rebalance{Percent: 10, Per: caddy.Duration(time.Minute)}
				})
				defer unload(t, h)
				h.logger = logger
				h.balancer.fixed = false // dynamic ones are asked for the breaker
				h.dynamicSeen.Store(&[]string{"a:1"})
				before := panicsCounted(t)
				process.HandOver(h.name)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { defer close(done); watch(h, ctx) }()
				elapse(watchInterval)
				synctest.Wait()
				wantPanicLines(t, lines, before, 1)
				process.Ledger.Look("a:1") // the lock is free
				elapse(watchInterval)
				synctest.Wait()
				if breaker.calls < 2 {
					t.Errorf("%d looks, want the next one as well", breaker.calls)
				}
				cancel()
				<-done
			})
		})
	}
}

func TestCollectingThatPanicsIsContained(t *testing.T) {
	set := live.NewSet(live.Reports{}, caddy.Exiting)
	set.Enter("broken", nil, loadedGateway{&Handler{running: new(running)}}) // without a balancer
	before := panicsCounted(t)
	metrics := make(chan prometheus.Metric, 100)
	newGatewaysCollector(set).Collect(metrics)
	if got := panicsCounted(t) - before; got != 1 {
		t.Errorf("%v panics were counted, want 1", got)
	}
}

// TestConnectionThatIsGivenUpHalfwayIsForgotten does what a handshake does where
// something panics between the upgrade and the relay.
func TestConnectionThatIsGivenUpHalfwayIsForgotten(t *testing.T) {
	for i, known := range []bool{true, false} {
		h := load(t, "given up", new(reverseproxy.LeastConnSelection), addressesOf(t, 1), nil)
		lease := new(balance.Lease)
		h.balancer.choose(lease, balance.Ask{}, h.Proxy.Upstreams, nil, nil)
		ourClient, client := net.Pipe()
		ourUpstream, upstream := net.Pipe()
		c := process.NewConn(live.Details{ID: live.NewID(), Gateway: h.name, Lease: lease, Upstream: lease.Address()},
			lease.Address(), live.Authority{})
		if known {
			process.Add(c)
		}
		got := &connected{answer: &handshake.Answer{Conn: ourUpstream}, lease: lease}
		h.giveUp(got, upgrade.Side{Conn: ourClient}, c)
		for _, conn := range []net.Conn{client, upstream} {
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				t.Error("a side is open")
			}
		}
		if up := shownUpstream(h.name, c.Upstream); up.Address == "" || up.Live != 0 || process.Ledger.Look(c.Upstream).Live != 0 {
			t.Errorf("known %t: it is counted as %+v", known, up)
		}
		if closes := seriesOf(t, closesTotal, h.name)["gateway 1011"]; closes != float64(i+1) {
			t.Errorf("known %t: %v ends are counted, want %d", known, closes, i+1)
		}
		unload(t, h)
	}
}
