package command

import (
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
)

// topUpstreamsKept is how many columns of the upstreams are never left out.
const topUpstreamsKept = 3

// topHead makes the lines that stand above the tables. What the width has no room for
// goes into the next line; a width of 0 has room for all.
func topHead(sample *topSample, rates topRates, wanted topQuery, width int) []string {
	state := sample.node.State
	if ends, err := time.Parse(time.RFC3339, sample.node.EndsAt); err == nil {
		state += ", ends in " + durationText(ends.Sub(sample.at).Seconds())
	}
	live := sample.node.Live
	parts := []string{cell(sample.node.Name), cell(state)}
	if wanted.gateway != "" {
		parts = append(parts, "gateway "+cell(wanted.gateway))
		live = 0
		for _, gateway := range sample.gateways {
			live += gateway.live()
		}
	}
	parts = append(parts, humanize.Comma(int64(live))+" live")
	if rates.known {
		parts = append(parts,
			"handshakes "+perSecond(rates.handshakes),
			fmt.Sprintf("messages %s up, %s down", perSecond(rates.messagesUp), perSecond(rates.messagesDown)),
			fmt.Sprintf("bytes %s/s up, %s/s down", bytesText(rates.bytesUp), bytesText(rates.bytesDown)))
	}
	lines := []string{parts[0]}
	for _, part := range parts[1:] {
		last := &lines[len(lines)-1]
		if longer := *last + "  " + part; width == 0 || utf8.RuneCountInString(longer) <= width {
			*last = longer
		} else {
			lines = append(lines, part)
		}
	}
	return lines
}

// upstreamTable makes the columns and rows of the table of upstreams.
func upstreamTable(sample *topSample, rates topRates) (columns []column, rows [][]string) {
	columns = []column{
		{"UPSTREAM", true}, {"STATE", false}, {"LIVE", false}, {"SHARE", false}, {"OPENED", false}, {"FAILED", false},
		{"GATEWAY", true}, {"WEIGHT", false}, {"STREAMS", false},
	}
	each := func(of map[upstreamKey]float64, key upstreamKey) string {
		if !rates.known {
			return ""
		}
		return perSecond(of[key])
	}
	for _, gateway := range sample.gateways {
		for _, upstream := range gateway.Upstreams {
			key := upstreamKey{gateway.Name, upstream.Address}
			rows = append(rows, []string{
				upstream.Address, upstream.State, strconv.Itoa(upstream.Live), shareText(upstream.Live, gateway.live()),
				each(rates.openedByUpstream, key), each(rates.failedByUpstream, key), gateway.Name, weightText(upstream.Weight),
				upstream.streamsText(),
			})
		}
	}
	return columns, rows
}

// fittedTable makes the texts of a table for a screen, the titles first. Unlike a table
// that is printed once it keeps columns that have nothing in them, which may come.
func fittedTable(width, kept int, columns []column, rows [][]string) []string {
	columns, lines := fitColumns(width, kept, columns, tableLines(columns, rows))
	widths := widthsFor(width, columns, lines)
	texts := make([]string, 0, len(lines))
	for _, line := range lines {
		texts = append(texts, joinCells(line, widths))
	}
	return texts
}
