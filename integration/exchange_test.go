package integration

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// load gives Caddy a configuration with the site.
func (g *gateway) load(site string) error {
	config, err := g.adapt(site)
	if err != nil {
		return err
	}
	return exchange(stacks, func() error { return caddy.Load(config, true) })
}

// post gives Caddy a configuration through the admin endpoint.
func (g *gateway) post(t *testing.T, contentType, config string) error {
	t.Helper()
	status, answer := g.adminDo(t, http.MethodPost, "/load", contentType, config)
	if status != http.StatusOK {
		return fmt.Errorf("POST /load: %d %s", status, answer)
	}
	return nil
}

// exchange runs what loads a configuration, and returns once nobody gets to the servers of
// the one before any more. Caddy does not wait for that: who comes right after a load may
// be answered as before it, or be in the queue of a socket when that is closed, which
// breaks the connection off before anything was said. The stacks are those of Caddy's
// process.
func exchange(stacks func() []string, load func() error) error {
	before, _ := doors(stacks())
	if err := load(); err != nil {
		return err // and the one before goes on
	}
	if !poll(patience, func() bool {
		now, closing := doors(stacks())
		return !closing && !slices.ContainsFunc(now, func(door string) bool { return slices.Contains(before, door) })
	}) {
		return fmt.Errorf("waited %v in vain for the servers of the configuration before to be closed", patience)
	}
	return nil
}

// openers start the goroutines that take connections over TCP, QUIC and at the admin
// endpoint.
var openers = []string{
	"created by github.com/caddyserver/caddy/v2/modules/caddyhttp.(*App).Start ",
	"created by github.com/caddyserver/caddy/v2/modules/caddyhttp.(*Server).serveHTTP3 ",
	"created by github.com/caddyserver/caddy/v2.replaceLocalAdminServer ",
}

// doors are the goroutines that take connections for Caddy, and whether a socket is being
// closed.
func doors(stacks []string) (open []string, closing bool) {
	for _, stack := range stacks {
		goroutine, _, _ := strings.Cut(stack, " [")
		if containsAny(stack, openers) && strings.Contains(stack, ".Serve") {
			open = append(open, goroutine)
		}
		closing = closing || strings.Contains(stack, "net/http.(*Server).closeListenersLocked(")
	}
	return open, closing
}

// TestReloadIsOverForWhoComesNext by any way: who asks right after it is served, and as the
// new configuration says.
func TestReloadIsOverForWhoComesNext(t *testing.T) {
	g := start(t, "respond first")
	rounds := 30
	if testing.Short() {
		rounds = 5
	}
	if n, _ := doors(stacks()); len(n) != 4 {
		t.Fatalf("the doors of TCP, TLS, QUIC and the admin endpoint are %q", n)
	}
	for i := range rounds {
		for _, w := range ways {
			want := fmt.Sprint("round ", i, " by ", w.name)
			g.reload(t, fmt.Sprintf("respond %q", want))
			if got := w.follow(t, g, question{method: "GET", path: "/"}).awaitEnd(t); got != want {
				t.Errorf("the answer is %q, want %q", got, want)
			}
		}
	}
}
