package wsgateway

import (
	"errors"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
)

// newStreaming is a request to a gateway with one upstream that cannot be reached.
func newStreaming(t *testing.T, use balance.Use, settings reverseproxy.LoadBalancing) *streaming {
	t.Helper()
	ledger := balance.NewLedger()
	b := ledger.New(balance.Settings{Policy: balance.LeastConn{}}, []balance.Member{{Address: "a:1", Weight: 1, Source: source{
		Upstream: &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: "a:1"},
	}}})
	h := &Handler{Proxy: new(reverseproxy.Handler), running: &running{name: t.Name(), live: process}}
	s := &streaming{Handler: h, r: httptest.NewRequest("GET", "/", nil), tries: newTries(&settings)}
	s.lease, s.use = &s.own, use
	if _, refusal := b.Acquire(s.lease, balance.Ask{Use: use}); refusal != balance.None {
		t.Fatal(refusal)
	}
	return s
}

func TestARequestForAStreamGoesOnWhereAnUpstreamCannotBeReached(t *testing.T) {
	for name, row := range map[string]struct {
		use      balance.Use
		settings reverseproxy.LoadBalancing
		err      error
		again    bool
		tried    []string
	}{
		"not reached":             {balance.Stream, reverseproxy.LoadBalancing{}, reverseproxy.DialError{}, true, []string{"a:1"}},
		"retries are the proxy's": {balance.Stream, reverseproxy.LoadBalancing{Retries: 3}, reverseproxy.DialError{}, false, []string{"a:1"}},
		"failed later":            {balance.Stream, reverseproxy.LoadBalancing{}, errors.New("broken pipe"), false, nil},
		"for no stream":           {balance.Request, reverseproxy.LoadBalancing{}, reverseproxy.DialError{}, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStreaming(t, row.use, row.settings)
			if _, err := s.answered(nil, row.err); !errors.Is(err, row.err) {
				t.Errorf("the proxy gets %v", err)
			}
			if !slices.Equal(s.tried, row.tried) {
				t.Errorf("%q are noted as tried, want %q", s.tried, row.tried)
			}
			if again := s.triesAgain(); again != row.again {
				t.Errorf("it goes on: %t", again)
			}
		})
	}
}
