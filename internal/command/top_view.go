package command

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/terminal"
)

// topMode is what keys are for.
type topMode int

const (
	topBrowsing topMode = iota
	topTyping           // a filter
	topAsking           // a question that is to be answered
	topHelping
)

// topQuestion is what is done where its answer is yes, which returns what to say of it.
type topQuestion struct {
	text string
	do   func(context.Context, *adminEndpoint) (string, error)
}

// topView is what the screen shows, and what of it is selected.
type topView struct {
	wanted         topQuery
	interval       time.Duration
	before, sample *topSample
	failure        string // of the last try to look, if it failed
	notice         string // of the last thing that was done

	mode     topMode
	typed    string
	question topQuestion

	onUpstreams bool // what the arrows move over: the upstreams or the connections
	upstream    upstreamKey
	connection  string // the ID of the one that is selected; none at first
}

// topHelp is shown instead of the tables.
var topHelp = []string{
	"arrows, PgUp, PgDn   select a connection, or an upstream",
	"Tab                  go from the connections to the upstreams, and back",
	"a i r p t            sort by age, idle, rate, pending, rtt",
	"/                    filter the connections: by ID, user, address, upstream, gateway, protocol",
	"d                    drain the selected upstream, or that of the selected connection",
	"k                    end the selected connection",
	"q                    quit",
	"",
	"up is from clients to upstreams, down is from upstreams to clients",
	"RATE is of bytes of both directions, PENDING what is held for a side that does not read",
	"SHARE is of the connections of the gateway; OPENED and FAILED are connections",
	"STREAMS is how many of those that are live are long answers, and no WebSockets",
}

// show replaces what is shown by what came of a look. Rates go by samples that are not
// much closer than the interval, as those that a key has asked for would be.
func (v *topView) show(sample *topSample, err error) {
	if err != nil {
		v.failure = escaped(err.Error())
		return
	}
	if v.before == nil || sample.at.Sub(v.sample.at) >= v.interval/2 {
		v.before = v.sample
	}
	v.sample, v.failure = sample, ""
}

// lines makes the screen.
func (v *topView) lines(width, height int, now time.Time) []terminal.Line {
	rates := ratesBetween(v.before, v.sample)
	var lines []terminal.Line
	for _, text := range topHead(v.sample, rates, v.wanted, width) {
		lines = append(lines, terminal.Line{Text: text, Style: terminal.Bold})
	}
	if v.mode == topHelping {
		lines = append(lines, terminal.Line{})
		for _, text := range topHelp {
			lines = append(lines, terminal.Line{Text: text})
		}
	} else {
		lines = append(lines, v.tables(width, height-len(lines)-1, rates)...)
	}
	last := max(height-1, 0)
	for len(lines) < last {
		lines = append(lines, terminal.Line{})
	}
	return append(lines[:last], terminal.Line{Text: v.bottom(width, now), Style: terminal.Reverse})
}

// tables makes the tables, in so many lines at the most: a third of them for upstreams
// where there are many.
func (v *topView) tables(width, height int, rates topRates) []terminal.Line {
	var lines []terminal.Line
	gap := height >= 12
	if gap {
		lines = append(lines, terminal.Line{})
	}
	upstreams, texts := v.upstreams(), []string(nil)
	if len(upstreams) > 0 {
		columns, rows := upstreamTable(v.sample, rates)
		texts = fittedTable(width, topUpstreamsKept, columns, rows)
		selected := -1
		if v.onUpstreams {
			selected = slices.Index(upstreams, v.upstream)
		}
		lines = append(lines, window(texts, selected, max(1, height/3))...)
	}
	if gap && len(lines) > 1 {
		lines = append(lines, terminal.Line{})
	}
	columns, rows := connectionTable(liveColumns(v.wanted.sort), v.sample.connections)
	for i, shown := range liveColumns(v.wanted.sort) {
		if shown.sort == v.wanted.sort {
			columns[i].title += "▼"
		}
	}
	texts = fittedTable(width, 1, columns, rows)
	if len(rows) == 0 {
		texts = append(texts, "no connections")
	}
	selected := -1
	if !v.onUpstreams {
		selected = v.connectionIndex()
	}
	return append(lines, window(texts, selected, height-len(lines)-1)...)
}

// window makes lines of the titles and of so many rows that the selected one is among
// them.
func window(texts []string, selected, height int) []terminal.Line {
	lines := []terminal.Line{{Text: texts[0], Style: terminal.Bold}}
	first := max(0, selected-height+1)
	for i := first; i < len(texts)-1 && i < first+height; i++ {
		line := terminal.Line{Text: texts[i+1]}
		if i == selected {
			line.Style = terminal.Reverse
		}
		lines = append(lines, line)
	}
	return lines
}

// bottom is the last line: what is asked, typed, wrong, or done.
func (v *topView) bottom(width int, now time.Time) string {
	text := ""
	switch {
	case v.mode == topAsking:
		const answers = " [y/N]" // which a terminal that is too narrow for all shows
		text, _ = cutCell(v.question.text, max(width-len(answers), 1))
		text += answers
	case v.mode == topTyping:
		text = "filter: " + escaped(v.typed) + "_"
	case v.mode == topHelping:
		text = "any key goes back"
	case v.failure != "":
		text = "as of " + durationText(now.Sub(v.sample.at).Seconds()) + " ago, trying again: " + v.failure
	case v.notice != "":
		text = v.notice
	default:
		text = "sort: " + v.wanted.sort + "  "
		if v.wanted.filter != "" {
			text += "filter: " + escaped(v.wanted.filter) + "  "
		}
		text += "?: help  q: quit"
	}
	return text + strings.Repeat(" ", max(0, width-len([]rune(text))))
}

// upstreams are the upstreams in the order of their table.
func (v *topView) upstreams() (keys []upstreamKey) {
	for _, gateway := range v.sample.gateways {
		for _, upstream := range gateway.Upstreams {
			keys = append(keys, upstreamKey{gateway.Name, upstream.Address})
		}
	}
	return keys
}

// connectionIndex is where the selected connection stands in its table, or -1.
func (v *topView) connectionIndex() int {
	return slices.IndexFunc(v.sample.connections, func(c listedConnection) bool { return c.ID == v.connection })
}
