package command

import (
	"strconv"

	"github.com/spf13/cobra"
)

func upstreamsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "upstreams [flags]",
		Short: "Shows the upstreams, with their state and their share of the load",
		Long: `Shows the upstreams of the gateways: their state, how many connections are live,
what share of all of its gateway that is, how many were opened and have failed
since Caddy was started, and how many of those that are live are streams. With
--json, it is the gateways with all that the admin endpoint shows of them.
` + exitStatusHelp,
		Example: `  $ caddy ws-gateway upstreams
  $ caddy ws-gateway upstreams --gateway chat
  $ caddy ws-gateway upstreams --json | jq '.[].upstreams[] | select(.state != "ready")'`,
		DisableFlagsInUseLine: true,
	}
	cmd.Flags().String("gateway", "", "Those of this gateway")
	return prepare(cmd, runUpstreams)
}

func runUpstreams(cmd *cobra.Command) error {
	name, err := gatewayFlag(cmd)
	if err != nil {
		return err
	}
	endpoint, err := endpointOf(cmd)
	if err != nil {
		return err
	}
	gateways, documents, err := fetchGateways(cmd.Context(), endpoint, name)
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		printJSON(cmd, joinJSON(documents))
		return nil
	}
	var rows [][]string
	for _, gateway := range gateways {
		for _, upstream := range gateway.Upstreams {
			rows = append(rows, []string{
				gateway.Name, upstream.Address, upstream.State, strconv.Itoa(upstream.Live), shareText(upstream.Live, gateway.live()),
				strconv.FormatUint(upstream.Opened, 10), strconv.FormatUint(upstream.Failed, 10), weightText(upstream.Weight),
				upstream.streamsText(),
			})
		}
	}
	if len(rows) == 0 {
		cmd.PrintErrln("no upstreams")
		return nil
	}
	printWideTable(cmd, 4, []column{
		{"GATEWAY", true}, {"ADDRESS", true}, {"STATE", false}, {"LIVE", false}, {"SHARE", false},
		{"OPENED", false}, {"FAILED", false}, {"WEIGHT", false}, {"STREAMS", false},
	}, rows)
	return nil
}

// gatewayFlag reads --gateway, which is empty where it is not given.
func gatewayFlag(cmd *cobra.Command) (string, error) {
	name, err := cmd.Flags().GetString("gateway")
	if err == nil && name == "" && cmd.Flags().Changed("gateway") {
		return "", usageError(cmd, "--gateway: it must not be empty")
	}
	return name, err
}

func weightText(weight float64) string { return strconv.FormatFloat(weight, 'g', -1, 64) }
