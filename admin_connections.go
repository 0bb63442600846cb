package wsgateway

import (
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
//	GET    /ws_gateway/connections?user=&jti=&gateway=&upstream=&ip=&older_than=&state=&sort=&limit=&after=
//	GET    /ws_gateway/connections/{id}
//	DELETE /ws_gateway/connections?user=&jti=&gateway=&upstream=&ip=&older_than=&code=&reason=
//	DELETE /ws_gateway/connections/{id}?code=&reason=
func adminConnections(set *live.Set) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := allowMethods(w, r, http.MethodGet, http.MethodHead, http.MethodDelete); err != nil {
			return err
		}
		id := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, connectionsPath), "/")
		switch {
		case r.Method == http.MethodDelete:
			return endConnections(set, id, w, r)
		case id != "":
			return showConnection(set, id, w, r)
		}
		return listConnections(set, w, r)
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

func listConnections(set *live.Set, w http.ResponseWriter, r *http.Request) error {
	query, err := parametersOf(r.URL)
	if err != nil {
		return adminError(http.StatusBadRequest, "%w", err)
	}
	filter, _, err := filterOf(query, set.Ledger.Addresses, "after", "limit", "sort", "state")
	if err != nil {
		return err
	}
	limit, err := limitOf(query)
	if err != nil {
		return adminError(http.StatusBadRequest, "%w", err)
	}
	wanted := live.Query{Filter: filter, Limit: limit, After: query.Get("after"), Sort: query.Get("sort")}
	switch state := query.Get("state"); {
	case query.Has("state") && state != "live" && state != "closed":
		return adminError(http.StatusBadRequest, "state must be live or closed")
	case query.Has("sort") && !slices.Contains(live.Sorts, wanted.Sort):
		return adminError(http.StatusBadRequest, "sort must be one of %s", strings.Join(live.Sorts, ", "))
	case state == "closed":
		return listClosed(set, query, &wanted, w)
	case query.Has("after") && query.Has("sort"):
		return adminError(http.StatusBadRequest, "after is for the order of IDs: with sort, ask for more by limit")
	case query.Has("after") && !live.IsID(wanted.After):
		return adminError(http.StatusBadRequest, "after must be the id of the last connection of the page before")
	}
	return answerJSON(w, set.Rows(wanted))
}

// listClosed lists connections that are over, of which less is known.
func listClosed(set *live.Set, query url.Values, wanted *live.Query, w http.ResponseWriter) error {
	for _, name := range []string{"after", "jti", "older_than", "sort"} {
		if query.Has(name) {
			return adminError(http.StatusBadRequest, "%s cannot be used with state=closed: gateway, ip, limit, upstream and user can", name)
		}
	}
	return answerJSON(w, set.Closed(wanted.Filter, wanted.Limit))
}
