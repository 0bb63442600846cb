package wsgateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

const (
	nodePath = adminRoot + "node"

	maxNodeBody = 64 << 10
)

// adminNode answers GET and POST /ws_gateway/node.
func adminNode(set *live.Set, node *fleetNode) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := allowMethods(w, r, http.MethodGet, http.MethodHead, http.MethodPost); err != nil {
			return err
		}
		if err := allowParameters(r.URL); err != nil {
			return err
		}
		if r.Method == http.MethodPost {
			apply, err := readNodeState(r.Body)
			if err != nil {
				return adminError(http.StatusBadRequest, "%w", err)
			}
			apply(set)
			node.member().Beat() // so that the others know
		}
		return answerJSON(w, namedNode{node.name(), set.Node()})
	}
}

// namedNode is the node with its name.
type namedNode struct {
	Name string `json:"name"`
	live.NodeView
}

// readNodeState reads {"state": "…", "period": "…"}, and returns what that asks for.
func readNodeState(body io.Reader) (apply func(*live.Set), err error) {
	object, err := readObject(body, maxNodeBody)
	if err != nil {
		return nil, fmt.Errorf("the body must be {\"state\": \"drain\"|\"ready\", \"period\": \"30s\"}: %w", err)
	}
	for _, member := range object {
		if name := string(member.Name); name != "state" && name != "period" {
			return nil, fmt.Errorf("the member %.64q is unknown: allowed are period, state", name)
		}
	}
	state, ok := object.Get("state").Text()
	if !ok {
		return nil, errors.New("state must be a text: use drain or ready")
	}
	var period *time.Duration
	if written := object.Get("period"); written != nil {
		within, err := readDuration("period", written)
		switch {
		case err != nil:
			return nil, err
		case within < 0:
			return nil, errors.New("period must not be negative: \"0s\" ends all at once")
		}
		period = &within
	}
	switch {
	case state == balance.Drain.String():
		return func(set *live.Set) { set.DrainNode(period) }, nil
	case state != balance.Ready.String():
		return nil, fmt.Errorf("state %.64q is unknown: use drain or ready", state)
	case period != nil:
		return nil, errors.New("period goes with drain only: leave it out")
	}
	return (*live.Set).ReadyNode, nil
}
