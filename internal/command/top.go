package command

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/wsgateway/caddy-ws-gateway/internal/terminal"
)

// topRowsOnce is how many connections are printed where there is no screen to fill.
const topRowsOnce = 20

func topCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "top [flags]",
		Short: "Shows what flows now, and the busiest connections",
		Long: `Shows this Caddy, its upstreams and its busiest connections, and what flows now,
and refreshes it. "?" shows the keys, "q" quits.

Where the output is no terminal, and with --once, it prints the same once, after one
interval, as plain text. With --json, it is one document of what the admin endpoint
answers: node, gateways and connections.

It has the 200 connections with the largest values; with a filter, 200 of those that
match among the largest 10,000.
` + exitStatusHelp,
		Example: `  $ caddy ws-gateway top
  $ caddy ws-gateway top --gateway chat --sort pending --interval 5s
  $ caddy ws-gateway top --once --interval 50ms --filter alice`,
		DisableFlagsInUseLine: true,
	}
	flags := cmd.Flags()
	flags.String("interval", "2s", "How long from one refresh to the next")
	flags.Bool("once", false, "Print it once and end")
	flags.String("sort", "rate", "Which connections, the largest first, by "+strings.Join(connectionSorts, ", "))
	flags.String("filter", "", "Only the connections that have this text in them")
	flags.String("gateway", "", "Only what is of this gateway")
	return prepare(cmd, runTop)
}

func runTop(cmd *cobra.Command) error {
	wanted, interval, err := topFlags(cmd)
	if err != nil {
		return err
	}
	once, err := cmd.Flags().GetBool("once")
	if err != nil {
		return err
	}
	endpoint, err := endpointOf(cmd)
	if err != nil {
		return err
	}
	// The first failure is one to read when the command has ended, and not on a screen.
	sample, err := fetchSample(cmd.Context(), endpoint, wanted)
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return printSample(cmd, sample)
	}
	in, hasKeys := cmd.InOrStdin().(*os.File)
	out, hasScreen := cmd.OutOrStdout().(*os.File)
	if once || !hasKeys || !hasScreen || !isTerminal(out) || os.Getenv("TERM") == "dumb" {
		return printTop(cmd, endpoint, wanted, sample, interval)
	}
	// They are taken from before the terminal is until after it was given back.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	screen, err := terminal.Open(in, out)
	if err != nil {
		return err
	}
	defer screen.Close()
	return newTopLoop(endpoint, screen, signals, interval, wanted, sample).run(cmd.Context())
}

func topFlags(cmd *cobra.Command) (wanted topQuery, interval time.Duration, err error) {
	query := make(map[string][]string)
	if err := setSort(cmd, query); err != nil {
		return wanted, 0, err
	}
	wanted.sort = query["sort"][0]
	if wanted.gateway, err = gatewayFlag(cmd); err != nil {
		return wanted, 0, err
	}
	if wanted.filter, err = cmd.Flags().GetString("filter"); err != nil {
		return wanted, 0, err
	}
	if interval, err = durationFlag(cmd, "interval", false); interval == 0 && err == nil {
		interval = 2 * time.Second
	}
	return wanted, interval, err
}

// printTop prints what the screen would show, with the rates of one interval.
func printTop(cmd *cobra.Command, endpoint *adminEndpoint, wanted topQuery, before *topSample, interval time.Duration) error {
	timer := time.NewTimer(interval)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-cmd.Context().Done():
		return cmd.Context().Err()
	}
	sample, err := fetchSample(cmd.Context(), endpoint, wanted)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	for _, line := range topHead(sample, ratesBetween(before, sample), wanted, terminalWidth(out)) {
		fmt.Fprintln(out, line)
	}
	fmt.Fprintln(out)
	columns, rows := upstreamTable(sample, ratesBetween(before, sample))
	printWideTable(cmd, topUpstreamsKept, columns, rows)
	if len(sample.connections) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	columns, rows = connectionTable(liveColumns(wanted.sort), sample.connections[:min(len(sample.connections), topRowsOnce)])
	printWideTable(cmd, 1, columns, rows)
	return nil
}

func printSample(cmd *cobra.Command, sample *topSample) error {
	document, err := json.Marshal(map[string]json.RawMessage{
		"node": sample.node.document, "gateways": joinJSON(sample.gatewayDocuments), "connections": joinJSON(sample.connectionDocuments),
	})
	if err == nil {
		printJSON(cmd, document)
	}
	return err
}
