package command

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

func drainCommand(poll time.Duration) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drain <address>... [flags]",
		Short: "Gives upstreams nothing new, and ends what is live there",
		Long: `Gives the upstreams nothing new, at all gateways that name them, and ends what is
live there, spread over drain_period of each gateway. "ready" undoes it. To drain
this Caddy, see "node drain".

With several addresses, those that can be drained are, whatever becomes of the
others; nothing is waited for then.

With --wait, it returns when nothing is live there any more, or with status 1 after
--timeout. It is given up with status 1 as well if one of the upstreams is drained
no longer, and with status 3 if Caddy exits. Interrupting it stops the waiting and
not the drain.
` + exitStatusHelp,
		Example: `  $ caddy ws-gateway drain 10.0.0.5:8080
  $ caddy ws-gateway drain 10.0.0.5:8080 10.0.0.6:8080 --wait --timeout 60s`,
		DisableFlagsInUseLine: true,
	}
	flags := cmd.Flags()
	flags.Bool("wait", false, "Wait until nothing is live there")
	flags.String("timeout", "", "With --wait, how long at the most (default: 2m)")
	return prepareWithArguments(cmd, func(cmd *cobra.Command, addresses []string) error {
		return runDrain(cmd, addresses, poll)
	})
}

func runDrain(cmd *cobra.Command, addresses []string, poll time.Duration) error {
	if err := checkAddresses(cmd, addresses); err != nil {
		return err
	}
	timeout, err := durationFlag(cmd, "timeout", false)
	if err != nil {
		return err
	}
	wait, err := cmd.Flags().GetBool("wait")
	switch {
	case err != nil:
		return err
	case !wait && timeout > 0:
		return usageError(cmd, "--timeout needs --wait")
	case timeout == 0:
		timeout = waitWithoutPeriod
	}
	endpoint, err := endpointOf(cmd)
	if err != nil {
		return err
	}
	ctx, began := cmd.Context(), time.Now()
	if wait {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, began.Add(timeout))
		defer cancel()
	}
	set, documents, err := setUpstreams(ctx, endpoint, addresses, "drain")
	printUpstreamsSet(cmd, set, documents)
	if err != nil || !wait {
		return err
	}
	waiting := &drainWait{poll: poll, began: began, timeout: timeout, progress: cmd.ErrOrStderr(), goesOn: "the upstream goes on draining"}
	if len(set) > 1 {
		waiting.goesOn = "the upstreams go on draining"
	}
	waiting.look = func(ctx context.Context) (int, string, error) { return lookAtDrained(ctx, endpoint, set) }
	if waiting.live, _, err = waiting.look(ctx); err != nil {
		return err
	}
	return waiting.run(cmd.Context())
}

// lookAtDrained finds how many connections are live at upstreams, of all gateways, and
// which of these is not drained any more.
func lookAtDrained(ctx context.Context, endpoint *adminEndpoint, set []upstreamSet) (live int, undone string, err error) {
	gateways, _, err := fetchGateways(ctx, endpoint, "")
	if err != nil {
		return 0, "", err
	}
	for _, gateway := range gateways {
		for _, upstream := range gateway.Upstreams {
			if !slices.ContainsFunc(set, func(one upstreamSet) bool { return one.Address == upstream.Address }) {
				continue
			}
			live += upstream.Live
			if upstream.State != "drain" {
				undone = fmt.Sprintf("the upstream %q is drained no longer", upstream.Address)
			}
		}
	}
	return live, undone, nil
}
