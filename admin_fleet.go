package wsgateway

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/internal/bulletin"
)

const fleetPath = adminRoot + "fleet"

// surveyPeriod is how long the other nodes have to answer.
const surveyPeriod = time.Second

// missingHeader names the nodes that did not answer.
const missingHeader = "Ws-Gateway-Missing"

// What a node is asked by another one. The questions are parameters of the admin
// endpoint.
const (
	askConnections = "connections" // answered by []live.Row
	askEnd         = "end"         // answered by the number of connections that were ended
)

// endedID is the parameter of askEnd for one connection.
const endedID = "id"

// adminFleet answers GET /ws_gateway/fleet.
func adminFleet(node *fleetNode) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := allowMethods(w, r, http.MethodGet, http.MethodHead); err != nil {
			return err
		}
		if err := allowParameters(r.URL); err != nil {
			return err
		}
		return answerJSON(w, node.view())
	}
}

// takeFleet reports whether all nodes are meant, and takes the parameter that says so out
// of the query.
func takeFleet(query url.Values) (everywhere bool, err error) {
	text := query.Get("fleet")
	if query.Has("fleet") && text != "true" && text != "false" {
		return false, adminError(http.StatusBadRequest, "fleet must be true, for the connections of all nodes, or false")
	}
	query.Del("fleet")
	return text == "true", nil
}

// askOthers asks the other nodes, and returns what they say. The header of the answer
// names those that said nothing.
func askOthers(node *fleetNode, w http.ResponseWriter, r *http.Request, kind string, query url.Values) []nodeAnswer {
	in := node.union()
	if in == nil {
		return nil
	}
	names := make(map[string]string)
	var others []bulletin.Node
	for _, one := range in.member.View().Nodes {
		if !one.Self {
			names[one.ID] = one.Name
			others = append(others, bulletin.Node{ID: one.ID, Name: one.Name})
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), surveyPeriod)
	defer cancel()
	answers, missing, err := in.board.Ask(ctx, kind, []byte(query.Encode()), others)
	if err != nil {
		missing = slices.Collect(maps.Values(names))
	}
	if slices.Sort(missing); len(missing) > 0 {
		w.Header().Set(missingHeader, strings.Join(missing, ", "))
	}
	said := make([]nodeAnswer, 0, len(answers))
	for id, answer := range answers {
		said = append(said, nodeAnswer{names[id], answer})
	}
	return said
}

// nodeAnswer is what a node says.
type nodeAnswer struct {
	node string
	said []byte
}
