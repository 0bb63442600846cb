package wsgateway

import (
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

// What a page may ask for.
const (
	statusData   = "data"
	statusEvents = "events"

	defaultStatusRows = 50
	maxStatusRows     = 500
	maxStatusFilter   = 256
)

// statusSorts are the orders that connections may be shown in, the largest first.
var statusSorts = []string{"rate", "age", "idle", "pending", "rtt"}

// statusQuery is what a page asks for. It is comparable, since pages that ask the same are
// answered together.
type statusQuery struct {
	view  string
	sort  string
	words string // each of which has to be in a connection that is shown
	limit int
}

// readStatusQuery reads ?view=&sort=&filter=&limit=.
func readStatusQuery(u *url.URL) (statusQuery, error) {
	asked := statusQuery{sort: statusSorts[0], limit: defaultStatusRows}
	query, err := parametersOf(u)
	if err != nil {
		return asked, err
	}
	for name := range query {
		value := query.Get(name)
		switch name {
		case "view":
			asked.view = value
			if value != statusData && value != statusEvents {
				return asked, errors.New("view must be data or events, or be left out for the page")
			}
		case "sort":
			asked.sort = value
			if !slices.Contains(statusSorts, value) {
				return asked, errors.New("sort must be one of " + strings.Join(statusSorts, ", "))
			}
		case "filter":
			if len(value) > maxStatusFilter {
				return asked, errors.New("filter may have at most " + strconv.Itoa(maxStatusFilter) + " bytes")
			}
			asked.words = strings.Join(strings.Fields(strings.ToLower(value)), " ")
		case "limit":
			asked.limit, err = strconv.Atoi(value)
			if err != nil || asked.limit < 1 || asked.limit > maxStatusRows {
				return asked, errors.New("limit must be a number from 1 to " + strconv.Itoa(maxStatusRows))
			}
		default:
			return asked, errors.New("the parameters are view, sort, filter and limit")
		}
	}
	return asked, nil
}

// statusSnapshot is how things are.
type statusSnapshot struct {
	Now          time.Time                `json:"now"`
	AllowActions bool                     `json:"allow_actions"`
	Node         any                      `json:"node"`
	Gateways     any                      `json:"gateways"`
	Series       map[string]statusHistory `json:"series"`
	Connections  any                      `json:"connections"`
	Matching     int                      `json:"matching"`
	Closed       any                      `json:"closed"`
}

// statusFacts are where the page takes from what it shows.
type statusFacts struct {
	set     *live.Set
	series  *statusSampler
	actions bool
}

func newStatusFacts(set *live.Set, series *statusSampler, actions bool) *statusFacts {
	return &statusFacts{set, series, actions}
}

func (f *statusFacts) snapshot(asked statusQuery) *statusSnapshot {
	return &statusSnapshot{
		Now:          time.Now().UTC(),
		AllowActions: f.actions,
		Gateways:     f.set.View(),
		Series:       f.series.history(),
	}
}
