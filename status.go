package wsgateway

import (
	"context"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

func init() {
	caddy.RegisterModule(new(Status))
	httpcaddyfile.RegisterHandlerDirective("ws_gateway_status", parseStatus)
	// before ws_gateway, which takes every path where it has no matcher
	httpcaddyfile.RegisterDirectiveOrder("ws_gateway_status", httpcaddyfile.Before, "metrics")
}

// Status is an HTTP handler that serves the live page: the gateways of the process with
// their upstreams, connections and limits, as they are now and were in the last minutes.
// It serves every path that is routed to it.
//
// It lets everybody in whom it is routed to: put it behind an authentication handler, such
// as basic_auth, or where only operators come.
type Status struct {
	// Whether the page has buttons: to drain an upstream or the node and make it ready
	// again, to end connections, and to revoke users. Whoever may see the page may then
	// do all of that. Requests of other pages are refused.
	AllowActions bool `json:"allow_actions,omitempty"`

	page    *statusPage
	facts   *statusFacts
	feeds   *statusFeeds
	actions *statusActions
	release func()
}

// CaddyModule returns the Caddy module information.
func (*Status) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.ws_gateway_status",
		New: func() caddy.Module { return new(Status) },
	}
}

// statusWords are the subdirectives of ws_gateway_status.
var statusWords = map[string]func(*Status, *caddyfile.Dispenser) error{
	"allow_actions": (*Status).unmarshalAllowActions,
}

// parseStatus sets up the handler from Caddyfile tokens. Syntax:
//
//	ws_gateway_status [<matcher>] {
//		allow_actions
//	}
func parseStatus(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next() // the directive's name
	if h.NextArg() {
		return nil, h.Errf("ws_gateway_status takes no argument but a matcher, which begins with / or @: put %q into its block", h.Val())
	}
	status := new(Status)
	if err := parseWords(h.Dispenser, status, "ws_gateway_status", statusWords, make(map[string]bool)); err != nil {
		return nil, err
	}
	return status, nil
}

// unmarshalAllowActions parses:
//
//	allow_actions
func (s *Status) unmarshalAllowActions(d *caddyfile.Dispenser) error {
	_, err := lineArgs(d, "allow_actions", 0, 0)
	s.AllowActions = true
	return err
}

// Provision begins to sample, unless another handler has done so.
func (s *Status) Provision(ctx caddy.Context) error {
	open, end := context.WithCancel(ctx)
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && server != nil {
		// At an exit Caddy waits for the streams before it ends the configuration.
		server.RegisterOnShutdown(end)
	}
	stop := statusSeries.start()
	s.release = func() { end(); stop() }
	s.serveFrom(open, process, kept, ours, statusSeries, ctx.Logger())
	return nil
}

// serveFrom has the handler show a set of connections until open is done.
func (s *Status) serveFrom(open context.Context, set *live.Set, kept *records, node *fleetNode, series *statusSampler, logger *zap.Logger) {
	s.page = embeddedStatusPage()
	s.facts = &statusFacts{set, node, series, s.AllowActions}
	s.feeds = newStatusFeeds(open, s.facts.snapshot)
	s.actions = &statusActions{set, kept, node, logger}
}

// Cleanup ends the streams of the page.
func (s *Status) Cleanup() error {
	if s.release != nil {
		s.release()
		s.release = nil
	}
	return nil
}

// ServeHTTP serves the page, what belongs to it, and what it asks for. All of that is told
// apart by the query, so that the path is the operator's.
func (s *Status) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	setStatusHeader(w.Header())
	if r.Method == http.MethodPost {
		if !s.AllowActions {
			return answerProblem(w, adminError(http.StatusForbidden, "this page may only show: allow_actions is not set"))
		}
		return s.actions.serve(w, r)
	}
	if err := allowMethods(w, r, statusMethods(s.AllowActions)...); err != nil {
		return answerProblem(w, err)
	}
	query := r.URL.Query()
	switch view := query.Get("view"); {
	case view == "" && query.Has("asset"):
		return s.page.serveAsset(w, r, query.Get("asset"), query.Get("v"))
	case view == "":
		return s.page.serve(w, r)
	}
	asked, err := readStatusQuery(r.URL)
	switch {
	case err != nil:
		return answerProblem(w, adminError(http.StatusBadRequest, "%w", err))
	case asked.view == statusEvents:
		return s.feeds.serve(w, r, asked)
	}
	if shown := s.facts.snapshot(r.Context(), asked); shown != nil {
		return answerStatus(w, http.StatusOK, shown)
	}
	return nil // the client is gone
}

func statusMethods(actions bool) []string {
	methods := []string{http.MethodGet, http.MethodHead}
	if actions {
		methods = append(methods, http.MethodPost)
	}
	return methods
}

// Interface guards
var (
	_ caddy.Module                = (*Status)(nil)
	_ caddy.Provisioner           = (*Status)(nil)
	_ caddy.CleanerUpper          = (*Status)(nil)
	_ caddyhttp.MiddlewareHandler = (*Status)(nil)
)
