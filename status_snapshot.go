package wsgateway

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

// What a page may ask for.
const (
	statusData   = "data"
	statusEvents = "events"

	defaultStatusRows = 50
	maxStatusRows     = 500
	maxStatusFilter   = 600 // bytes: 200 characters of any script, as many as the page takes

	statusClosed = 30 // connections that ended last
)

// statusQuery is what a page asks for. It is comparable, since pages that ask the same are
// answered together.
type statusQuery struct {
	view  string
	sort  string
	words string // as of wordsOf; each of them has to be in a connection that is shown
	limit int
}

// readStatusQuery reads ?view=&sort=&filter=&limit=.
func readStatusQuery(u *url.URL) (statusQuery, error) {
	asked := statusQuery{sort: "rate", limit: defaultStatusRows}
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
			if !slices.Contains(live.Sorts, value) {
				return asked, errors.New("sort must be one of " + strings.Join(live.Sorts, ", "))
			}
		case "filter":
			if len(value) > maxStatusFilter {
				return asked, errors.New("filter may have at most " + strconv.Itoa(maxStatusFilter) + " bytes")
			}
			asked.words = wordsOf(value)
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

// wordsOf are the words of a filter in lower case, each once and in one order: filters that
// say the same are equal, and none is looked for twice.
func wordsOf(filter string) string {
	words := strings.Fields(strings.ToLower(filter))
	slices.Sort(words)
	return strings.Join(slices.Compact(words), " ")
}

// statusSnapshot is how things are.
type statusSnapshot struct {
	Now          time.Time                `json:"now"`
	AllowActions bool                     `json:"allow_actions"`
	Node         statusNode               `json:"node"`
	Live         int                      `json:"live"`
	Gateways     []live.GatewayView       `json:"gateways"`
	Drains       map[string]statusDrain   `json:"drains"` // by address, of upstreams
	Series       map[string]statusHistory `json:"series"`
	Connections  []live.Row               `json:"connections"`
	Matching     int                      `json:"matching"` // how many there are of what was asked for
	Closed       []live.Row               `json:"closed"`
}

// statusNode is the process.
type statusNode struct {
	namedNode
	Drain *statusDrain `json:"drain,omitempty"` // nil while it is ready
}

// statusDrain is how far a drain is.
type statusDrain struct {
	From   int       `json:"from"` // when it began
	Left   int       `json:"left"`
	EndsAt time.Time `json:"ends_at,omitzero"`
}

// statusFacts are where the page takes from what it shows.
type statusFacts struct {
	set     *live.Set
	self    *fleetNode
	series  *statusSampler
	actions bool
}

// snapshot waits for its turn: however many ask, and whatever for, the process looks at its
// connections for one of them at a time. It is nil where ctx is done before.
func (f *statusFacts) snapshot(ctx context.Context, asked statusQuery) *statusSnapshot {
	select {
	case f.series.turn <- struct{}{}:
		defer func() { <-f.series.turn }()
	case <-ctx.Done():
		return nil
	}
	filter := live.Filter{Words: strings.Fields(asked.words)}
	s := &statusSnapshot{
		Now:          time.Now().UTC().Truncate(time.Millisecond),
		AllowActions: f.actions,
		Node:         f.node(),
		Gateways:     f.set.View(),
		Series:       f.series.history(),
		Connections:  f.set.Rows(live.Query{Filter: filter, Limit: asked.limit, Sort: asked.sort}),
		Closed:       f.set.Closed(live.Filter{}, statusClosed),
	}
	s.Live = s.Node.Live
	s.Matching = s.Live
	if asked.words != "" {
		s.Matching = f.set.Count(filter)
	}
	s.Drains = f.drains(s.Gateways)
	return s
}

// drains shows how far the drains of upstreams are.
func (f *statusFacts) drains(gateways []live.GatewayView) map[string]statusDrain {
	drains := make(map[string]statusDrain)
	for _, g := range gateways {
		for _, up := range g.Upstreams {
			if up.State != balance.Drain.String() {
				continue
			}
			drain := drains[up.Address]
			drain.Left += up.Live
			drains[up.Address] = drain
		}
	}
	if len(drains) == 0 {
		return drains
	}
	ends := f.set.DrainEnds()
	for address, drain := range drains {
		drain.From, drain.EndsAt = max(drain.Left, f.series.drainedFrom(address)), ends[address]
		drains[address] = drain
	}
	return drains
}

func (f *statusFacts) node() statusNode {
	node := statusNode{namedNode: namedNode{f.self.name(), f.set.Node()}}
	if node.State == balance.Drain.String() {
		node.Drain = &statusDrain{From: max(node.Live, f.series.drainedFrom(wholeNode)), Left: node.Live, EndsAt: node.EndsAt}
	}
	return node
}
