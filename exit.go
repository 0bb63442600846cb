package wsgateway

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

func init() {
	// For what is left of gateways that the running configuration has no more.
	caddy.OnExit(func(context.Context) {
		defer contain(nil) // others have something to do at the exit as well
		process.Exit(defaultExitPeriod)
		process.AwaitEmpty()
	})
}

// listenForExit makes the handler hear of an exit when its server begins to shut
// down, because the server will wait for streams that only we can end.
func (h *Handler) listenForExit(ctx caddy.Context) {
	h.exit = func() { exit(h.live, gracePeriod(ctx)) }
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return
	}
	server.RegisterOnShutdown(func() {
		if caddy.Exiting() {
			exit(h.live, gracePeriod(ctx))
		}
	})
}

// gracePeriod is how long servers have to shut down; 0 is for ever.
func gracePeriod(ctx caddy.Context) caddy.Duration {
	app, err := ctx.AppIfConfigured("http")
	if err != nil {
		return 0
	}
	web, ok := app.(*caddyhttp.App)
	if !ok {
		return 0
	}
	return web.GracePeriod
}

// exit ends every connection of the process, which exits.
func exit(set *live.Set, grace caddy.Duration) {
	defer contain(nil) // servers call it in goroutines of their own
	if set.Exit(orDefault(grace, defaultExitPeriod)) && grace == 0 {
		set.HangUp()
	}
}
