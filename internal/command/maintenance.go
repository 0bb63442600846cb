package command

import "github.com/spf13/cobra"

func maintenanceCommand() *cobra.Command {
	return setStateCommand(&cobra.Command{
		Use:   "maintenance <address>...",
		Short: "Gives upstreams nothing new, and leaves what is live",
		Long: `Gives the upstreams nothing new, at all gateways that name them, except for the
clients that have a session there. What is live stays. "ready" undoes it.

With several addresses, those that can be set are, whatever becomes of the others.
` + exitStatusHelp,
		Example: `  $ caddy ws-gateway maintenance 10.0.0.5:8080
  $ caddy ws-gateway maintenance 10.0.0.5:8080 10.0.0.6:8080 --json`,
		DisableFlagsInUseLine: true,
	})
}
