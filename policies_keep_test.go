package wsgateway

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
)

// firstWithCookie is a policy that tells the client where it is.
type firstWithCookie struct{}

func (firstWithCookie) Select(pool reverseproxy.UpstreamPool, _ *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	http.SetCookie(w, &http.Cookie{Name: "at", Value: "there", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	return pool[0]
}

func TestPolicyIsNotTurnedAwayForAnAllowanceThatGrows(t *testing.T) {
	t.Parallel()
	for name, selector := range map[string]reverseproxy.Selector{
		"first":  new(reverseproxy.FirstSelection),
		"cookie": firstWithCookie{},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy := &reverseproxy.Handler{Upstreams: pool("a:80", "b:80"), LoadBalancing: new(reverseproxy.LoadBalancing)}
			ledger := balance.NewLedger()
			b, err := newBalancer(ledger, balance.Settings{MaxConns: 2}, proxy, selector, nil)
			if err != nil {
				t.Fatal(err)
			}
			ledger.Bind()
			ledger.Allow("b:80", 2)
			spent := false
			ask := balance.Ask{Grows: func(address string) bool { return address == "a:80" && !spent }}
			choose := func(want string, refusal balance.Refusal) {
				t.Helper()
				w := httptest.NewRecorder()
				lease := new(balance.Lease)
				up, got := b.choose(lease, ask, proxy.Upstreams, w, requestWith(nil))
				if up == nil || up.Dial != want || got != refusal || (lease.Address() == "") != (refusal == balance.Short) {
					t.Errorf("chose %v with refusal %d and a lease of %q, want %s and %d", up, got, lease.Address(), want, refusal)
				}
				cookies := len(w.Result().Cookies())
				if name == "cookie" && cookies > 0 == (refusal == balance.Short) {
					t.Errorf("%d cookies with refusal %d", cookies, got)
				}
			}
			choose("a:80", balance.Short)
			spent = true
			choose("b:80", balance.None)
			spent = false
			ledger.Allow("a:80", 1)
			choose("a:80", balance.None)
		})
	}
}
