// Package command is `caddy ws-gateway`: what an operator asks a running Caddy of its WebSocket
// gateways, from a shell. It knows the admin endpoint only, and nothing of the handler. It adds
// to the command of Caddy, which is why it imports that.
package command

import (
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "ws-gateway",
		Usage: "<command>",
		Short: "Looks after the WebSocket gateways of a running Caddy",
		Long: `Looks after the WebSocket gateways of a running Caddy, over its admin endpoint.

The address of the admin endpoint is --address if given; otherwise that of the
configuration that --config names; otherwise the default.
` + exitStatusHelp,
		CobraFunc: func(cmd *cobra.Command) { setUpCommand(cmd, 500*time.Millisecond) },
	})
}

// setUpCommand gives the command its subcommands, each of which is a file. Those that
// wait for something look every poll.
func setUpCommand(cmd *cobra.Command, poll time.Duration) {
	cmd.Example = `  $ caddy ws-gateway list --sort rate --limit 20
  $ caddy ws-gateway kill --user alice
  $ caddy ws-gateway revoke --user alice
  $ caddy ws-gateway node --json
  $ caddy ws-gateway --config /etc/caddy/Caddyfile node drain --wait`
	cmd.DisableFlagsInUseLine = true
	prepareGroup(cmd)
	addAddressFlags(cmd)
	addOutputFlags(cmd)
	cmd.AddCommand(
		listCommand(),
		upstreamsCommand(),
		killCommand(),
		drainCommand(poll),
		readyCommand(),
		maintenanceCommand(),
		topCommand(),
		revokeCommand(),
		nodeCommand(poll),
		fleetCommand(),
	)
}
