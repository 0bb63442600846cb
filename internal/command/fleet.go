package command

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// fleetView is the fleet as a node shows it at the admin endpoint.
type fleetView struct {
	Engine    string `json:"engine"`
	Connected bool   `json:"connected"`
	Nodes     []struct {
		Name      string         `json:"name"`
		ID        string         `json:"id"`
		Self      bool           `json:"self"`
		State     string         `json:"state"`
		Live      int            `json:"live"`
		Seen      string         `json:"seen"`
		Version   string         `json:"version"`
		Upstreams map[string]int `json:"upstreams"`
	} `json:"nodes"`
}

func fleetCommand() *cobra.Command {
	return prepare(&cobra.Command{
		Use:   "fleet",
		Short: "Shows the nodes of the fleet",
		Long: `Shows the nodes of the fleet of this Caddy, as it knows them: how many connections
each had at its last sign of life. The node that was asked has an asterisk. With
--json, it is also how many each has to each upstream.
` + exitStatusHelp,
		Example: `  $ caddy ws-gateway fleet
  $ caddy ws-gateway fleet --json | jq '[.nodes[].live] | add'`,
		DisableFlagsInUseLine: true,
	}, runFleet)
}

func runFleet(cmd *cobra.Command) error {
	endpoint, err := endpointOf(cmd)
	if err != nil {
		return err
	}
	var view fleetView
	document, err := endpoint.get(cmd.Context(), fleetPath, nil, &view)
	if err != nil {
		return err
	}
	printFleet(cmd, &view, document)
	return nil
}

func printFleet(cmd *cobra.Command, view *fleetView, document json.RawMessage) {
	if wantsJSON(cmd) {
		printJSON(cmd, document)
		return
	}
	if view.Engine != "none" && !view.Connected {
		cmd.PrintErrln("caddy ws-gateway: the engine " + escaped(view.Engine) + " cannot be reached: this is what was last known")
	}
	rows := make([][]string, 0, len(view.Nodes))
	total := 0
	for _, node := range view.Nodes {
		name := node.Name
		if node.Self {
			name += "*"
		}
		rows = append(rows, []string{name, node.ID, node.State, strconv.Itoa(node.Live), secondOf(node.Seen), node.Version})
		total += node.Live
	}
	slices.SortFunc(rows, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	printWideTable(cmd, 4, []column{
		{"NODE", true}, {"ID", false}, {"STATE", false}, {"LIVE", false}, {"SEEN", false}, {"VERSION", false},
	}, rows)
	if len(view.Nodes) > 1 {
		cmd.PrintErrf("%s on %d nodes\n", counted(total, "connection"), len(view.Nodes))
	}
}
