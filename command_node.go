package wsgateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"
)

const (
	// How long a drain is waited for: beyond its period, and where it is given none.
	waitBeyondPeriod  = 30 * time.Second
	waitWithoutPeriod = 2 * time.Minute
)

// nodeState is the state of a node as the admin endpoint shows it, in fields and as
// it was written.
type nodeState struct {
	Name  string `json:"name"`
	ID    string `json:"id"`
	State string `json:"state"`
	Live  int    `json:"live"`
	Since string `json:"since"`

	document json.RawMessage
}

func (s nodeState) print(cmd *cobra.Command) {
	if wantsJSON(cmd) {
		printJSON(cmd, s.document)
		return
	}
	printMembers(cmd, [][2]string{
		{"name", s.Name}, {"id", s.ID}, {"state", s.State}, {"live", strconv.Itoa(s.Live)}, {"since", s.Since},
	})
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
		waiting := &drainWait{endpoint: endpoint, poll: poll, began: began, timeout: timeout, progress: cmd.ErrOrStderr(), state: state}
		err = waiting.run(cmd.Context())
		state = waiting.state
	}
	if err == nil || exitStatusOf(err) == exitRefused {
		state.print(cmd) // as it was last
	}
	return err
}

// durationFlag reads a flag that is a duration of Caddy's, or zero where it is not
// given.
func durationFlag(cmd *cobra.Command, name string, mayBeZero bool) (time.Duration, error) {
	if !cmd.Flags().Changed(name) {
		return 0, nil
	}
	text := cmd.Flag(name).Value.String()
	if err := checkDuration(text, mayBeZero); err != nil {
		return 0, usageError(cmd, "--%s: %w", name, err)
	}
	return caddy.ParseDuration(text)
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

// drainWait waits until nothing is live on a node that is drained.
type drainWait struct {
	endpoint      *adminEndpoint
	began         time.Time // when the drain was asked for
	poll, timeout time.Duration
	progress      io.Writer // shows it if it is a terminal
	state         nodeState // as it was last
}

func (w *drainWait) run(ctx context.Context) error {
	interrupted, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	timed, cancel := context.WithDeadline(interrupted, w.began.Add(w.timeout))
	defer cancel()
	ticker := time.NewTicker(w.poll)
	defer ticker.Stop()
	defer w.show("")
	for missed := false; ; {
		state, err := nodeOf(timed, w.endpoint)
		switch left := counted(w.state.Live, "connection"); {
		case interrupted.Err() != nil:
			return commandFailure(exitInterrupted, "interrupted with %s left: the node goes on draining", left)
		case timed.Err() != nil && err != nil:
			return commandFailure(exitRefused, "%s left after %s: the node goes on draining", left, w.timeout)
		case err != nil && exitStatusOf(err) != exitUnreachable:
			return err
		case err != nil && missed: // once may be a reload that moves the endpoint
			return commandFailure(exitUnreachable, "the admin endpoint is gone, with %s left when it last answered: %w", left, err)
		case err == nil:
			w.state = state
		}
		missed = err != nil
		switch {
		case missed:
		case state.Live == 0:
			return nil
		case state.State != "drain":
			return commandFailure(exitRefused, "the node is %s again, with %s left", state.State, counted(state.Live, "connection"))
		}
		w.show(counted(w.state.Live, "connection") + " left")
		select {
		case <-ticker.C:
		case <-timed.Done():
		}
	}
}

// show writes a line over the one before, if there is a terminal.
func (w *drainWait) show(line string) {
	if width := terminalWidth(w.progress); width > 0 {
		fmt.Fprintf(w.progress, "\r%-*.*s\r%[3]s", width-1, width-1, line)
	}
}
