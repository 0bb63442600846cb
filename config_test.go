package wsgateway

import (
	"encoding/json"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func TestDrainUnhealthyNeedsSomethingThatTells(t *testing.T) {
	t.Parallel()
	active := &reverseproxy.HealthChecks{Active: &reverseproxy.ActiveHealthChecks{URI: "/"}}
	passive := &reverseproxy.HealthChecks{Passive: &reverseproxy.PassiveHealthChecks{FailDuration: caddy.Duration(1)}}
	static, placeholder := pool("a:1"), pool("{x}:1")
	dynamic := json.RawMessage(`{"source":"a","name":"a"}`)
	for name, row := range map[string]struct {
		set func(*Handler)
		ok  bool
	}{
		"nothing":         {func(h *Handler) { h.Proxy.Upstreams = static }, false},
		"an active check": {func(h *Handler) { h.Proxy.Upstreams, h.Proxy.HealthChecks = static, active }, true},
		"one without a path": {func(h *Handler) {
			h.Proxy.HealthChecks = &reverseproxy.HealthChecks{Active: new(reverseproxy.ActiveHealthChecks)}
		}, false},
		"one of placeholders":      {func(h *Handler) { h.Proxy.Upstreams, h.Proxy.HealthChecks = placeholder, active }, false},
		"one of dynamic ones":      {func(h *Handler) { h.Proxy.DynamicUpstreamsRaw, h.Proxy.HealthChecks = dynamic, active }, false},
		"failures":                 {func(h *Handler) { h.Proxy.Upstreams, h.Proxy.HealthChecks = static, passive }, true},
		"failures of dynamic ones": {func(h *Handler) { h.Proxy.DynamicUpstreamsRaw, h.Proxy.HealthChecks = dynamic, passive }, true},
		"probes of dynamic ones":   {func(h *Handler) { h.Proxy.DynamicUpstreamsRaw, h.WebSocketHealth = dynamic, new(WebSocketHealth) }, true},
		"a circuit breaker":        {func(h *Handler) { h.Proxy.CBRaw = json.RawMessage(`{}`) }, true},
	} {
		h := &Handler{Proxy: new(reverseproxy.Handler), DrainUnhealthy: true}
		row.set(h)
		if err := h.validateDrainUnhealthy(h.dynamicSource() != ""); (err == nil) != row.ok {
			t.Errorf("%s: %v", name, err)
		}
		h.DrainUnhealthy = false
		if err := h.validateDrainUnhealthy(h.dynamicSource() != ""); err != nil {
			t.Errorf("%s, without drain_unhealthy: %v", name, err)
		}
	}
}

func TestPlaceholdersOfTheRequestAreFoundInASource(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]bool{
		"": false, `{}`: false,
		`{"source":"a","name":"backend","port":"80"}`:                                                 false,
		`{"source":"a","name":"{env.HOME}","port":"80"}`:                                              false,
		`{"source":"a","name":"backend","port":"{http.request.header.X}"}`:                            true,
		`{"source":"multi","sources":[{"source":"a","name":"a"},{"source":"srv","name":"{tenant}"}]}`: true,
	} {
		if got := placeholderIn(config); got != want {
			t.Errorf("%s: %t", config, got)
		}
	}
}

func TestPlaceOfAKeySetIsATextOrAnObject(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]KeySetPlace{
		`"https://a.example/keys"`:                             {Place: "https://a.example/keys"},
		`{"place":"/etc/keys.json"}`:                           {Place: "/etc/keys.json"},
		` {"place":"http://a.internal/k","allow_http":true}`:   {Place: "http://a.internal/k", AllowHTTP: true},
		`{"place":"http://a.internal/k","allow_http":"true"}`:  {},
		`{"place":"http://a.internal/k","allowed_http":false}`: {},
		`["https://a.example/keys"]`:                           {},
		`5`:                                                    {},
	} {
		var got KeySetPlace
		err := json.Unmarshal([]byte(text), &got)
		if (err == nil) != (want.Place != "") || err == nil && got != want {
			t.Errorf("%s is %+v, %v", text, got, err)
			continue
		}
		written, err := json.Marshal(got)
		var again KeySetPlace
		if err != nil || json.Unmarshal(written, &again) != nil || again != got {
			t.Errorf("%s is written as %s", text, written)
		}
	}
}
