package command

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// waitBeyondPeriod is how long a drain is waited for beyond its period.
const waitBeyondPeriod = 30 * time.Second

// nodeState is the state of a node as the admin endpoint shows it, in fields and as
// it was written.
type nodeState struct {
	Name  string `json:"name"`
	ID    string `json:"id"`
	State string `json:"state"`
	Live  int    `json:"live"`
	Since string `json:"since"`

	EndsAt string `json:"ends_at"` // of a drain; empty where none goes on

	document json.RawMessage
}

func (s nodeState) print(cmd *cobra.Command) {
	if wantsJSON(cmd) {
		printJSON(cmd, s.document)
		return
	}
	members := [][2]string{
		{"name", s.Name}, {"id", s.ID}, {"state", s.State}, {"live", strconv.Itoa(s.Live)}, {"since", s.Since},
	}
	if s.EndsAt != "" {
		members = append(members, [2]string{"ends", s.EndsAt})
	}
	printMembers(cmd, members)
}

func nodeCommand(poll time.Duration) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Shows the state of this Caddy, drains it or makes it ready",
		Long: `Shows the state of this Caddy, and how many WebSockets and streams are live, of
all its gateways.
` + exitStatusHelp,
		Example: `  $ caddy ws-gateway node
  $ caddy ws-gateway node --json | jq .live
  $ caddy ws-gateway node drain --wait`,
		DisableFlagsInUseLine: true,
	}
	cmd.AddCommand(nodeDrainCommand(poll), nodeReadyCommand())
	return prepare(cmd, func(cmd *cobra.Command) error {
		endpoint, err := endpointOf(cmd)
		if err != nil {
			return err
		}
		state, err := nodeOf(cmd.Context(), endpoint)
		if err != nil {
			return err
		}
		state.print(cmd)
		return nil
	})
}

func nodeReadyCommand() *cobra.Command {
	return prepare(&cobra.Command{
		Use:   "ready",
		Short: "Makes this Caddy accept handshakes again",
		Long: `Undoes a drain: handshakes are accepted again. Connections that a drain has not
yet ended stay.
` + exitStatusHelp,
		Example: `  $ caddy ws-gateway node ready
  $ caddy ws-gateway --address unix//run/caddy/admin.sock node ready`,
		DisableFlagsInUseLine: true,
	}, func(cmd *cobra.Command) error {
		endpoint, err := endpointOf(cmd)
		if err != nil {
			return err
		}
		state, err := setNode(cmd.Context(), endpoint, map[string]string{"state": "ready"})
		if err != nil {
			return err
		}
		state.print(cmd)
		return nil
	})
}

func nodeDrainCommand(poll time.Duration) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drain [flags]",
		Short: "Makes this Caddy refuse handshakes and end what is live",
		Long: `Makes this Caddy refuse handshakes and end what is live, spread over the period.
It can be undone with "node ready", and a restart undoes it.

With --wait, it returns when nothing is live any more, or with status 1 after
--timeout. It is given up with status 1 as well if the node is made ready
meanwhile, and with status 3 if Caddy exits. Interrupting it stops the waiting
and not the drain.
` + exitStatusHelp,
		Example: `  $ caddy ws-gateway node drain
  $ caddy ws-gateway node drain --period 30s --wait
  $ caddy ws-gateway node drain --wait --timeout 60s`,
		DisableFlagsInUseLine: true,
	}
	flags := cmd.Flags()
	flags.String("period", "", "Over how long connections are ended, such as 30s (default: drain_period of their gateway)")
	flags.Bool("wait", false, "Wait until nothing is live")
	flags.String("timeout", "", "With --wait, how long at the most (default: the period and 30s, or 2m without --period)")
	return prepare(cmd, func(cmd *cobra.Command) error { return runNodeDrain(cmd, poll) })
}

func runNodeDrain(cmd *cobra.Command, poll time.Duration) error {
	wanted := map[string]string{"state": "drain"}
	period, err := durationFlag(cmd, "period", true)
	if err != nil {
		return err
	}
	timeout, err := durationFlag(cmd, "timeout", false)
	if err != nil {
		return err
	}
	wait, err := cmd.Flags().GetBool("wait")
	if err != nil {
		return err
	}
	if !wait && cmd.Flags().Changed("timeout") {
		return usageError(cmd, "--timeout needs --wait")
	}
	if cmd.Flags().Changed("period") {
		wanted["period"] = cmd.Flag("period").Value.String()
	}
	endpoint, err := endpointOf(cmd)
	if err != nil {
		return err
	}
	ctx, began := cmd.Context(), time.Now()
	if wait {
		switch {
		case timeout > 0:
		case wanted["period"] != "":
			timeout = period + waitBeyondPeriod
		default:
			timeout = waitWithoutPeriod
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, began.Add(timeout))
		defer cancel()
	}
	state, err := setNode(ctx, endpoint, wanted)
	if err != nil {
		return err
	}
	if wait {
		err = waitForNode(cmd, endpoint, &state, poll, began, timeout)
	}
	if err == nil || exitStatusOf(err) == exitRefused {
		state.print(cmd) // as it was last
	}
	return err
}

// waitForNode waits until nothing is live on the node, and leaves the state as it was
// last.
func waitForNode(cmd *cobra.Command, endpoint *adminEndpoint, state *nodeState, poll time.Duration, began time.Time, timeout time.Duration) error {
	waiting := &drainWait{poll: poll, began: began, timeout: timeout, progress: cmd.ErrOrStderr(), live: state.Live, goesOn: "the node goes on draining"}
	waiting.look = func(ctx context.Context) (live int, undone string, err error) {
		looked, err := nodeOf(ctx, endpoint)
		if err != nil {
			return 0, "", err
		}
		if *state = looked; state.State != "drain" {
			undone = fmt.Sprintf("the node is %s again", state.State)
		}
		return state.Live, undone, nil
	}
	return waiting.run(cmd.Context())
}

// nodeOf asks for the state of the node.
func nodeOf(ctx context.Context, endpoint *adminEndpoint) (nodeState, error) {
	var state nodeState
	document, err := endpoint.get(ctx, nodePath, nil, &state)
	state.document = document
	return state, err
}

// setNode sets the state of the node, and returns what it is then.
func setNode(ctx context.Context, endpoint *adminEndpoint, wanted map[string]string) (nodeState, error) {
	var state nodeState
	document, err := endpoint.post(ctx, nodePath, wanted, &state)
	if err == nil && state.State == "" { // the answer need not say
		return nodeOf(ctx, endpoint)
	}
	state.document = document
	return state, err
}
