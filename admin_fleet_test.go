package wsgateway

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/membership"
)

// alone is a node in no fleet.
func alone(set *live.Set) *fleetNode { return &fleetNode{set: set} }

func TestFleetOfOneNodeIsThatNode(t *testing.T) {
	set := live.NewSet(live.Reports{}, func() bool { return false })
	rec := httptest.NewRecorder()
	if err := adminFleet(alone(set))(rec, httptest.NewRequest(http.MethodGet, fleetPath, nil)); err != nil {
		t.Fatal(err)
	}
	var view membership.View
	if err := json.Unmarshal(rec.Body.Bytes(), &view); err != nil {
		t.Fatal(err)
	}
	if view.Engine != "none" || view.Connected || len(view.Nodes) != 1 {
		t.Fatalf("got %s", rec.Body)
	}
	if n := view.Nodes[0]; !n.Self || n.ID != set.ID || n.State != "ready" || n.Seen.IsZero() {
		t.Errorf("got %s", rec.Body)
	}
}

func TestFleetIsReadOnlyAndTakesNoParameters(t *testing.T) {
	set := live.NewSet(live.Reports{}, func() bool { return false })
	for _, row := range []struct {
		method, target string
		status         int
	}{
		{http.MethodPost, fleetPath, http.StatusMethodNotAllowed},
		{http.MethodGet, fleetPath + "?node=a", http.StatusBadRequest},
	} {
		err := adminFleet(alone(set))(httptest.NewRecorder(), httptest.NewRequest(row.method, row.target, nil))
		if answer, ok := errors.AsType[caddy.APIError](err); !ok || answer.HTTPStatus != row.status {
			t.Errorf("%s %s: got %v, want %d", row.method, row.target, err, row.status)
		}
	}
}

func TestParameterFleet(t *testing.T) {
	for query, want := range map[string]struct{ everywhere, fails bool }{
		"":            {},
		"fleet=false": {},
		"fleet=true":  {everywhere: true},
		"fleet=":      {fails: true},
		"fleet=1":     {fails: true},
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		everywhere, err := takeFleet(values)
		if everywhere != want.everywhere || (err != nil) != want.fails {
			t.Errorf("%q: got %t and %v", query, everywhere, err)
		}
		if values.Has("fleet") && err == nil {
			t.Errorf("%q: it is left in the query", query)
		}
	}
}
