package command

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// connectionColumn is a column of a table of connections.
type connectionColumn struct {
	column
	sort string // what the admin endpoint calls an order by it; empty where it has none
	text func(*listedConnection) string
}

// liveColumns are those for connections that are live, the most important first: among
// them the one that they are sorted by.
func liveColumns(sort string) []connectionColumn {
	columns := []connectionColumn{
		{column{"ID", false}, "", func(c *listedConnection) string { return c.ID }},
		{column{"USER", true}, "", func(c *listedConnection) string { return c.User }},
		{column{"UPSTREAM", true}, "", func(c *listedConnection) string { return c.Upstream }},
		{column{"AGE", false}, "age", func(c *listedConnection) string { return durationText(c.Age) }},
		{column{"IDLE", false}, "idle", func(c *listedConnection) string { return optionalDuration(c.Idle) }},
		{column{"RATE", false}, "rate", rateText},
		{column{"RTT", false}, "rtt", func(c *listedConnection) string { return optionalDuration(c.RTT) }},
		{column{"PENDING", false}, "pending", pendingText},
		{column{"PROTOCOL", false}, "", func(c *listedConnection) string { return c.Protocol }},
		{column{"IP", false}, "", func(c *listedConnection) string { return c.RemoteIP }},
		{column{"GATEWAY", true}, "", func(c *listedConnection) string { return c.Gateway }},
		{column{"ENDS IN", false}, "", endText},
	}
	sorted := slices.IndexFunc(columns, func(c connectionColumn) bool { return sort != "" && c.sort == sort })
	if sorted > 2 {
		column := columns[sorted]
		columns = slices.Insert(slices.Delete(columns, sorted, sorted+1), 2, column)
	}
	return append(columns, historyColumns...)
}

// closedColumns are those for connections that have ended.
var closedColumns = append([]connectionColumn{
	{column{"ID", false}, "", func(c *listedConnection) string { return c.ID }},
	{column{"USER", true}, "", func(c *listedConnection) string { return c.User }},
	{column{"CLOSED", false}, "", func(c *listedConnection) string { return secondOf(c.ClosedAt) }},
	{column{"BY", false}, "", func(c *listedConnection) string { return c.By }},
	{column{"CODE", false}, "", codeText},
	{column{"REASON", true}, "", func(c *listedConnection) string { return c.Reason }},
	{column{"LIMIT", false}, "", func(c *listedConnection) string { return c.Limit }},
	{column{"UPSTREAM", true}, "", func(c *listedConnection) string { return c.Upstream }},
	{column{"LASTED", false}, "", func(c *listedConnection) string { return durationText(c.Age) }},
	{column{"PROTOCOL", false}, "", func(c *listedConnection) string { return c.Protocol }},
	{column{"IP", false}, "", func(c *listedConnection) string { return c.RemoteIP }},
	{column{"GATEWAY", true}, "", func(c *listedConnection) string { return c.Gateway }},
}, historyColumns...)

// historyColumns are those that both have, the last.
var historyColumns = []connectionColumn{
	{column{"PROTO", false}, "", func(c *listedConnection) string { return c.Proto }},
	{column{"SUBPROTOCOL", true}, "", func(c *listedConnection) string { return c.Subprotocol }},
	{column{"FROM CLIENT", false}, "", func(c *listedConnection) string { return passedText(c.MessagesFromClient, c.BytesFromClient) }},
	{column{"FROM UPSTREAM", false}, "", func(c *listedConnection) string { return passedText(c.MessagesFromUpstream, c.BytesFromUpstream) }},
}

// ofNodes puts the node behind the ID where those of all nodes are listed.
func ofNodes(cmd *cobra.Command, columns []connectionColumn) []connectionColumn {
	if !meansFleet(cmd) {
		return columns
	}
	node := connectionColumn{column{"NODE", true}, "", func(c *listedConnection) string { return c.Node }}
	return slices.Insert(slices.Clone(columns), 1, node)
}

// connectionTable makes the columns and rows of a table.
func connectionTable(shown []connectionColumn, connections []listedConnection) (columns []column, rows [][]string) {
	for _, c := range shown {
		columns = append(columns, c.column)
	}
	for i := range connections {
		row := make([]string, 0, len(shown))
		for _, c := range shown {
			row = append(row, c.text(&connections[i]))
		}
		rows = append(rows, row)
	}
	return columns, rows
}

// rateText is how much flows over a connection, of both directions.
func rateText(c *listedConnection) string {
	if c.Rates == nil {
		return ""
	}
	return bytesText(c.Rates.BytesFromClient+c.Rates.BytesFromUpstream) + "/s"
}

func pendingText(c *listedConnection) string {
	if c.Pending == nil {
		return ""
	}
	return bytesText(*c.Pending)
}

// endText is how soon a connection ends and why, by the clock of the node, which shows
// in its age.
func endText(c *listedConnection) string {
	if c.EndsAt == "" {
		return ""
	}
	opened, err := time.Parse(time.RFC3339, c.OpenedAt)
	if err != nil {
		return c.EndsAt
	}
	ends, err := time.Parse(time.RFC3339, c.EndsAt)
	if err != nil {
		return c.EndsAt
	}
	return durationText(ends.Sub(opened).Seconds()-c.Age) + " " + c.EndsBecause
}

func codeText(c *listedConnection) string {
	if c.Code == 0 {
		return ""
	}
	return strconv.Itoa(c.Code)
}

// passedText is what has passed in one direction so far.
func passedText(messages, bytes uint64) string {
	return fmt.Sprintf("%d, %s", messages, bytesText(float64(bytes)))
}
