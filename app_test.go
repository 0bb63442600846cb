package wsgateway

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// budgetNow is how much may be held for stalled sides.
func budgetNow() int64 {
	_, most := relay.Buffers()
	return most
}

func TestBuffersAreThoseOfTheConfigurationThatRuns(t *testing.T) {
	def := relay.DefaultBuffers()
	small, large, unset := &App{Buffers: 2 << 20}, &App{Buffers: def + 1<<20}, new(App)
	steps := []struct {
		name string
		do   func() error
		want int64
	}{
		{"nothing has started", func() error { return nil }, def},
		{"the first starts", small.Start, 2 << 20},
		{"the next starts, and may fail yet", large.Start, def + 1<<20},
		{"the next has failed", large.Stop, 2 << 20},
		{"it is cleaned up", large.Cleanup, 2 << 20},
		{"another starts", large.Start, def + 1<<20},
		{"the old one stops", small.Stop, def + 1<<20},
		{"the old one is cleaned up", small.Cleanup, def + 1<<20},
		{"a smaller one starts, and may fail yet", small.Start, def + 1<<20},
		{"the old one stops", large.Stop, 2 << 20},
		{"one without the setting starts", unset.Start, def},
		{"the old one stops", small.Stop, def},
		{"a reload takes the app out", unset.Stop, def},
		{"one starts again", small.Start, 2 << 20},
		{"it is only cleaned up, for it failed after the start", small.Cleanup, def},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if got := budgetNow(); got != step.want {
			t.Errorf("%s: %d bytes may be held, want %d", step.name, got, step.want)
		}
	}
}

func init() { caddy.RegisterModule(failingApp{}) }

// failingApp does not start.
type failingApp struct{}

func (failingApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ws_gateway_test_fails", New: func() caddy.Module { return failingApp{} }}
}
func (failingApp) Start() error { return errors.New("it fails") }
func (failingApp) Stop() error  { return nil }

func TestReloadSetsTheBuffersUnlessItFails(t *testing.T) {
	prepareValidation(t)
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		if got, want := budgetNow(), relay.DefaultBuffers(); got != want {
			t.Errorf("after the end, %d bytes may be held, want %d", got, want)
		}
	})
	load := func(apps string) error {
		return caddy.Load([]byte(`{"admin":{"disabled":true,"config":{"persist":false}},"apps":{`+apps+`}}`), true)
	}
	for _, step := range []struct {
		apps  string
		fails string // in the error
		want  int64
	}{
		{`"ws_gateway":{"buffers":3000000}`, "", 3000000},
		{`"ws_gateway":{"buffers":2000000}`, "", 2000000},
		{`"ws_gateway":{"buffers":4000000},"ws_gateway_test_fails":{}`, "it fails", 2000000},
		{`"ws_gateway":{"buffers":1000}`, "buffers must be at least 1048576 bytes, not 1000", 2000000},
		{`"ws_gateway":{"buffers":-1}`, "buffers must be at least", 2000000},
		{`"ws_gateway":{"buffers":9223372036854775808}`, "buffers", 2000000},
		{`"ws_gateway":{"bufers":3000000}`, "bufers", 2000000},
		{`"ws_gateway":{}`, "", relay.DefaultBuffers()},
		{`"ws_gateway":{"buffers":3000000}`, "", 3000000},
		{``, "", relay.DefaultBuffers()},
	} {
		err := load(step.apps)
		if step.fails == "" && err != nil || step.fails != "" && (err == nil || !strings.Contains(err.Error(), step.fails)) {
			t.Errorf("%s: got the error %v, want %q", step.apps, err, step.fails)
		}
		if got := budgetNow(); got != step.want {
			t.Errorf("after %s, %d bytes may be held, want %d", step.apps, got, step.want)
		}
	}
}

func TestValidatingSetsNoBuffers(t *testing.T) {
	prepareValidation(t)
	config := new(caddy.Config)
	if err := json.Unmarshal([]byte(`{"apps":{"ws_gateway":{"buffers":3000000}}}`), config); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(config); err != nil {
		t.Fatal(err)
	}
	if got, want := budgetNow(), relay.DefaultBuffers(); got != want {
		t.Errorf("%d bytes may be held, want %d", got, want)
	}
}
