package command

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// maxListed is how many connections the admin endpoint lists in one answer at most.
const maxListed = 10000

// connectionSorts are what connections can be sorted by, the largest first.
var connectionSorts = []string{"age", "idle", "rate", "pending", "rtt"}

func listCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [flags]",
		Short: "Lists the connections",
		Long: `Lists the connections that are live, or the last that have ended: all that match,
in the order of their IDs. With --sort, it is the 1000 with the largest values,
or as many as --limit says.

A table leaves out the columns for which the terminal has no room. RATE is of
bytes, in both directions, over the last ten seconds; PENDING is what is held for
a side that does not read.
` + exitStatusHelp,
		Example: `  $ caddy ws-gateway list --user alice
  $ caddy ws-gateway list --sort rate --limit 20
  $ caddy ws-gateway list --gateway chat --older-than 1h
  $ caddy ws-gateway list --protocol sse
  $ caddy ws-gateway list --state closed
  $ caddy ws-gateway list --fleet --user alice
  $ caddy ws-gateway list --json | jq -r '.[].user'`,
		DisableFlagsInUseLine: true,
	}
	addConnectionFlags(cmd)
	addFleetFlag(cmd)
	flags := cmd.Flags()
	flags.String("state", "live", "Those that are live, or the last that have ended: closed")
	flags.String("sort", "", "The largest first, by "+strings.Join(connectionSorts, ", "))
	flags.Int("limit", 0, fmt.Sprintf("How many at the most, from 1 to %d", maxListed))
	return prepare(cmd, runList)
}

func runList(cmd *cobra.Command) error {
	query, err := listQuery(cmd)
	if err != nil {
		return err
	}
	endpoint, err := endpointOf(cmd)
	if err != nil {
		return err
	}
	connections, documents, err := fetchConnections(cmd.Context(), endpoint, query)
	warnOfMissing(cmd, endpoint)
	switch {
	case err != nil:
		return err
	case wantsJSON(cmd):
		printJSON(cmd, joinJSON(documents))
	case len(connections) == 0:
		cmd.PrintErrln("no connections")
	case query.Get("state") == "closed":
		printConnections(cmd, ofNodes(cmd, closedColumns), connections)
	default:
		printConnections(cmd, ofNodes(cmd, liveColumns(query.Get("sort"))), connections)
	}
	return nil
}

// listQuery makes parameters of the flags. What has ended has no pages.
func listQuery(cmd *cobra.Command) (url.Values, error) {
	query, err := connectionQuery(cmd)
	if err != nil {
		return nil, err
	}
	if meansFleet(cmd) {
		query.Set("fleet", "true")
	}
	state, err := cmd.Flags().GetString("state")
	if err != nil {
		return nil, err
	}
	switch state {
	case "live":
	case "closed":
		query.Set("state", state)
		query.Set("limit", strconv.Itoa(maxListed))
	default:
		return nil, usageError(cmd, "--state: %q is neither live nor closed", state)
	}
	if err := setSort(cmd, query); err != nil {
		return nil, err
	}
	if cmd.Flags().Changed("limit") {
		limit, err := cmd.Flags().GetInt("limit")
		if err != nil {
			return nil, err
		}
		if limit < 1 || limit > maxListed {
			return nil, usageError(cmd, "--limit: it must be from 1 to %d", maxListed)
		}
		query.Set("limit", strconv.Itoa(limit))
	}
	return query, nil
}

// setSort makes a parameter of --sort, where it is given.
func setSort(cmd *cobra.Command, query url.Values) error {
	by, err := cmd.Flags().GetString("sort")
	if err != nil {
		return err
	}
	switch {
	case slices.Contains(connectionSorts, by):
		query.Set("sort", by)
	case cmd.Flags().Changed("sort"):
		return usageError(cmd, "--sort: %q is none of %s", by, strings.Join(connectionSorts, ", "))
	}
	return nil
}

func printConnections(cmd *cobra.Command, shown []connectionColumn, connections []listedConnection) {
	columns, rows := connectionTable(shown, connections)
	printWideTable(cmd, 1, columns, rows)
}
