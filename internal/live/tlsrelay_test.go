package live

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

func TestTLSRelayedByGoroutinesIsToldOnceAndShown(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		trouble error
		lines   int
		field   string
	}{
		"by the loop":   {nil, 0, ""},
		"by goroutines": {errors.New("tls.Conn has no field rawInput"), 1, `"tls_relay":"goroutines"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSet()
			s.tls.trouble = func() error { return row.trouble }
			core, log := observer.New(zap.InfoLevel)
			for range 3 {
				s.WarnOfTLS(zap.New(core))
			}
			lines := log.FilterLevelExact(zap.WarnLevel).FilterField(zap.Error(row.trouble)).All()
			if len(lines) != row.lines || log.Len() != row.lines {
				t.Errorf("got %d lines, want %d: %v", log.Len(), row.lines, log.All())
			}
			s.Show("gw", "a:1")
			shown, err := json.Marshal(s.View())
			if err != nil {
				t.Fatal(err)
			}
			if has := strings.Contains(string(shown), "tls_relay"); has != (row.field != "") || !strings.Contains(string(shown), row.field) {
				t.Errorf("got %s", shown)
			}
		})
	}
}

func TestThisBuildRelaysTLSAsItShould(t *testing.T) {
	t.Parallel()
	if err := relay.TLSTrouble(); err != nil {
		t.Error(err)
	}
}
