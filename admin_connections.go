package wsgateway

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

const connectionsPath = adminRoot + "connections"

// adminConnections serves connectionsPath and what is below it.
//
//	GET    /ws_gateway/connections?user=&jti=&gateway=&upstream=&ip=&protocol=&older_than=&state=&sort=&limit=&after=&fleet=
//	GET    /ws_gateway/connections/{id}
//	DELETE /ws_gateway/connections?user=&jti=&gateway=&upstream=&ip=&protocol=&older_than=&code=&reason=&fleet=
//	DELETE /ws_gateway/connections/{id}?code=&reason=&fleet=
func adminConnections(set *live.Set, node *fleetNode) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := allowMethods(w, r, http.MethodGet, http.MethodHead, http.MethodDelete); err != nil {
			return err
		}
		id := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, connectionsPath), "/")
		switch {
		case r.Method == http.MethodDelete:
			return endConnections(set, node, id, w, r)
		case id != "":
			return showConnection(set, id, w, r)
		}
		return listConnections(set, node, w, r)
	}
}

func showConnection(set *live.Set, id string, w http.ResponseWriter, r *http.Request) error {
	if err := allowParameters(r.URL); err != nil {
		return err
	}
	row := set.Row(id)
	if row == nil {
		return adminError(http.StatusNotFound, "there is no connection %q, and none of the last that have ended", id)
	}
	return answerJSON(w, row)
}

func listConnections(set *live.Set, node *fleetNode, w http.ResponseWriter, r *http.Request) error {
	query, err := parametersOf(r.URL)
	if err != nil {
		return adminError(http.StatusBadRequest, "%w", err)
	}
	everywhere, err := takeFleet(query)
	if err != nil {
		return err
	}
	list, err := readListing(query, set.Ledger.Addresses)
	if err != nil {
		return err
	}
	if everywhere {
		return answerJSON(w, listEverywhere(set, node, w, r, query, list))
	}
	return answerJSON(w, list.rows(set))
}

// listing is what connections are to be listed.
type listing struct {
	live.Query
	closed bool // those that have ended
}

func (l *listing) rows(set *live.Set) []live.Row {
	if l.closed {
		return set.Closed(l.Filter, l.Limit)
	}
	return set.Rows(l.Query)
}

// readListing reads the parameters of a list. known lists the addresses of the upstreams.
func readListing(query url.Values, known func() []string) (*listing, error) {
	filter, _, err := filterOf(query, known, "after", "fleet", "limit", "sort", "state")
	if err != nil {
		return nil, err
	}
	limit, err := limitOf(query)
	if err != nil {
		return nil, adminError(http.StatusBadRequest, "%w", err)
	}
	list := &listing{Query: live.Query{Filter: filter, Limit: limit, After: query.Get("after"), Sort: query.Get("sort")}}
	switch state := query.Get("state"); {
	case query.Has("state") && state != "live" && state != "closed":
		return nil, adminError(http.StatusBadRequest, "state must be live or closed")
	case query.Has("sort") && !slices.Contains(live.Sorts, list.Sort):
		return nil, adminError(http.StatusBadRequest, "sort must be one of %s", strings.Join(live.Sorts, ", "))
	case state == "closed":
		list.closed = true
		return list, checkClosed(query)
	case query.Has("after") && query.Has("sort"):
		return nil, adminError(http.StatusBadRequest, "after is for the order of IDs: with sort, ask for more by limit")
	case query.Has("after") && !live.IsID(list.After):
		return nil, adminError(http.StatusBadRequest, "after must be the id of the last connection of the page before")
	}
	return list, nil
}

// checkClosed is for connections that are over, of which less is known.
func checkClosed(query url.Values) error {
	for _, name := range []string{"after", "jti", "older_than", "sort"} {
		if query.Has(name) {
			return adminError(http.StatusBadRequest, "%s cannot be used with state=closed: fleet, gateway, ip, limit, protocol, upstream and user can", name)
		}
	}
	return nil
}

// nodeRow is a connection of a node.
type nodeRow struct {
	Node string `json:"node"`
	live.Row
}

// listEverywhere lists the connections of all nodes: as many, and in the order, that the
// list asks for.
func listEverywhere(set *live.Set, node *fleetNode, w http.ResponseWriter, r *http.Request, query url.Values, list *listing) []nodeRow {
	rows := []nodeRow{}
	add := func(name string, some []live.Row) {
		for _, row := range some {
			if (row.Past != nil) == list.closed { // of another version of the gateway, it may not be
				rows = append(rows, nodeRow{name, row})
			}
		}
	}
	for _, answer := range askOthers(node, w, r, askConnections, query) {
		var some []live.Row
		if json.Unmarshal(answer.said, &some) == nil {
			add(answer.node, some)
		}
	}
	add(node.name(), list.rows(set))
	slices.SortFunc(rows, func(a, b nodeRow) int {
		if list.closed {
			return b.ClosedAt.Compare(a.ClosedAt)
		}
		return live.CompareRows(list.Sort, &a.Row, &b.Row)
	})
	return rows[:min(len(rows), list.Limit)]
}
