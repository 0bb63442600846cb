package wsgateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI is the part of Caddy's admin endpoint that shows gateways and sets
// the state of upstreams. It serves what belongs to the process, because Caddy
// makes it before any handler.
type adminAPI struct{}

const (
	adminRoot      = "/ws_gateway/"
	adminUpstreams = adminRoot + "upstreams/"

	maxAdminBody = 4 << 10
)

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.ws_gateway",
		New: func() caddy.Module { return adminAPI{} },
	}
}

// Routes implements caddy.AdminRouter.
func (adminAPI) Routes() []caddy.AdminRoute {
	connections := adminConnections(process)
	return []caddy.AdminRoute{
		{Pattern: adminRoot, Handler: caddy.AdminHandlerFunc(serveGateways)},
		{Pattern: adminUpstreams, Handler: caddy.AdminHandlerFunc(serveUpstream)},
		{Pattern: connectionsPath, Handler: connections},
		{Pattern: connectionsPath + "/", Handler: connections},
	}
}

// serveGateways answers GET /ws_gateway/.
func serveGateways(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Path != adminRoot {
		return adminError(http.StatusNotFound, "there is no %s", r.URL.Path)
	}
	if err := allowMethods(w, r, http.MethodGet, http.MethodHead); err != nil {
		return err
	}
	return answerJSON(w, process.view())
}

// serveUpstream answers POST /ws_gateway/upstreams/{address}.
func serveUpstream(w http.ResponseWriter, r *http.Request) error {
	if err := allowMethods(w, r, http.MethodPost); err != nil {
		return err
	}
	address, err := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), adminUpstreams))
	if err != nil {
		return adminError(http.StatusBadRequest, "the address in the path: %w", err)
	}
	address = canonicalAddress(address)
	state, err := readState(r.Body)
	if err != nil {
		return adminError(http.StatusBadRequest, "%w", err)
	}
	if !process.ledger.Known(address) {
		return adminError(http.StatusNotFound, "no gateway has an upstream %q", address)
	}
	process.setState(address, state)
	return answerJSON(w, struct {
		Address string `json:"address"`
		State   string `json:"state"`
	}{address, state.String()})
}

// readState reads {"state": "…"}.
func readState(body io.Reader) (balance.State, error) {
	var wanted struct {
		State string `json:"state"`
	}
	dec := json.NewDecoder(io.LimitReader(body, maxAdminBody))
	dec.DisallowUnknownFields()
	err := dec.Decode(&wanted)
	if err == nil && dec.More() {
		err = errors.New("there is something after it")
	}
	if err != nil {
		return 0, fmt.Errorf("the body must be {\"state\": \"ready\"|\"drain\"|\"maintenance\"}: %w", err)
	}
	for _, state := range []balance.State{balance.Ready, balance.Drain, balance.Maintenance} {
		if wanted.State == state.String() {
			return state, nil
		}
	}
	return 0, fmt.Errorf("state %q is unknown: use ready, drain or maintenance", wanted.State)
}

// setState sets the state of an upstream, and drains it if that is asked for.
func (g *registry) setState(address string, state balance.State) {
	g.ledger.SetState(address, state)
	if state == balance.Drain {
		g.drain(func(c *connection) bool { return c.upstream == address })
	}
}

func allowMethods(w http.ResponseWriter, r *http.Request, methods ...string) error {
	if slices.Contains(methods, r.Method) {
		return nil
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	return adminMethodError(r, strings.Join(methods, " or "))
}

// adminError is an answer that says what is wrong with the request.
func adminError(status int, format string, args ...any) error {
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf(format, args...)}
}

func adminMethodError(r *http.Request, allowed string) error {
	return adminError(http.StatusMethodNotAllowed, "method %s is not allowed here: use %s", r.Method, allowed)
}

func answerJSON(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(v)
}

// Interface guards
var _ caddy.AdminRouter = adminAPI{}
