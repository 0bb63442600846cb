package wsgateway

import (
	"fmt"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI is the part of Caddy's admin endpoint that shows gateways and sets
// the state of upstreams. It serves what belongs to the process, because Caddy
// makes it before any handler.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.ws_gateway",
		New: func() caddy.Module { return adminAPI{} },
	}
}

// Routes implements caddy.AdminRouter.
func (adminAPI) Routes() []caddy.AdminRoute {
	return adminRoutes(process, kept, ours)
}

func adminRoutes(set *live.Set, kept *records, node *fleetNode) []caddy.AdminRoute {
	upstreams, connections, revocations := adminUpstream(set, kept), adminConnections(set, node), adminRevocations(set, kept)
	return []caddy.AdminRoute{
		{Pattern: adminRoot, Handler: adminGateways(set)},
		{Pattern: adminUpstreams, Handler: upstreams},
		{Pattern: adminUpstreams + "/", Handler: upstreams},
		{Pattern: connectionsPath, Handler: connections},
		{Pattern: connectionsPath + "/", Handler: connections},
		{Pattern: revocationsPath, Handler: revocations},
		{Pattern: revocationsPath + "/", Handler: revocations},
		{Pattern: nodePath, Handler: adminNode(set, node)},
		{Pattern: fleetPath, Handler: adminFleet(node)},
	}
}

// adminGateways answers GET /ws_gateway/.
func adminGateways(set *live.Set) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.URL.Path != adminRoot {
			return adminError(http.StatusNotFound, "there is no %s", r.URL.Path)
		}
		if err := allowMethods(w, r, http.MethodGet, http.MethodHead); err != nil {
			return err
		}
		return answerJSON(w, set.View())
	}
}

// adminUpstream answers POST /ws_gateway/upstreams/{address} and the same with
// ?address=.
func adminUpstream(set *live.Set, kept *records) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error { return setUpstream(set, kept, w, r) }
}

func setUpstream(set *live.Set, kept *records, w http.ResponseWriter, r *http.Request) error {
	if err := allowMethods(w, r, http.MethodPost); err != nil {
		return err
	}
	written, err := requestedAddress(r.URL)
	if err != nil {
		return adminError(http.StatusBadRequest, "%w", err)
	}
	state, err := readState(r.Body)
	if err != nil {
		return adminError(http.StatusBadRequest, "%w", err)
	}
	known := set.Ledger.Addresses()
	address, ok := knownAddress(written, known)
	if !ok {
		return adminError(http.StatusNotFound, "no gateway has an upstream %q: %s", written, listAddresses(known))
	}
	if err := kept.setState(r.Context(), address, state); err != nil {
		return adminError(http.StatusInternalServerError, "%w", err)
	}
	return answerJSON(w, struct {
		Address string `json:"address"`
		State   string `json:"state"`
	}{address, state.String()})
}

// readState reads {"state": "…"}.
func readState(body io.Reader) (balance.State, error) {
	wanted, err := readMember(body, "state")
	if err != nil {
		return 0, fmt.Errorf("the body must be {\"state\": \"ready\"|\"drain\"|\"maintenance\"}: %w", err)
	}
	return stateNamed(wanted)
}

// Interface guards
var _ caddy.AdminRouter = adminAPI{}
