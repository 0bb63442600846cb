package command

import "github.com/spf13/cobra"

func readyCommand() *cobra.Command {
	return setStateCommand(&cobra.Command{
		Use:   "ready <address>...",
		Short: "Gives upstreams new connections again",
		Long: `Undoes drain and maintenance: the upstreams get new connections again, from
all gateways that name them.

With several addresses, those that can be set are, whatever becomes of the others.
` + exitStatusHelp,
		Example: `  $ caddy ws-gateway ready 10.0.0.5:8080
  $ caddy ws-gateway ready 10.0.0.5:8080 unix//run/app.sock`,
		DisableFlagsInUseLine: true,
	})
}
