package command

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

func killCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kill (<id>... | <filters>) [flags]",
		Short: "Ends connections, by their IDs or all that match",
		Long: `Ends connections, by their IDs or all that match every filter that is given. The
clients can come back: to keep them out, revoke what they have.

With filters, on a terminal, it first says how many match and asks, unless there is
--yes. With several IDs, those that there are end, whatever becomes of the others.
` + exitStatusHelp,
		Example: `  $ caddy ws-gateway kill 5f0c9a7e31b2d864
  $ caddy ws-gateway kill --user alice
  $ caddy ws-gateway kill --gateway chat --older-than 12h --code 1012 --yes
  $ caddy ws-gateway kill --fleet --user alice --yes
  $ caddy ws-gateway kill --ip 203.0.113.7 --reason goodbye`,
		DisableFlagsInUseLine: true,
	}
	addConnectionFlags(cmd)
	addFleetFlag(cmd)
	flags := cmd.Flags()
	flags.Int("code", 0, "Close code for the clients (default 3000); a stream has none")
	flags.String("reason", "", "Reason for the close frames, and for the log")
	flags.BoolP("yes", "y", false, "Do not ask")
	return prepareWithArguments(cmd, runKill)
}

func runKill(cmd *cobra.Command, ids []string) error {
	filters, err := connectionQuery(cmd)
	if err != nil {
		return err
	}
	ending, err := endingQuery(cmd)
	switch {
	case err != nil:
		return err
	case len(ids) > 0 && len(filters) > 0:
		return usageError(cmd, "IDs and filters exclude each other")
	case slices.Contains(ids, ""):
		return usageError(cmd, "the ID of a connection must not be empty")
	case len(ids) == 0 && len(filters) == 0:
		return usageError(cmd, "say which connections to end, by their IDs or with a filter such as --user")
	}
	endpoint, err := endpointOf(cmd)
	if err != nil {
		return err
	}
	if meansFleet(cmd) {
		ending.Set("fleet", "true")
	}
	defer warnOfMissing(cmd, endpoint)
	if len(ids) > 0 {
		return killEach(cmd, endpoint, ids, ending)
	}
	return killMatching(cmd, endpoint, filters, ending)
}

// endingQuery makes parameters of the flags that say how connections end.
func endingQuery(cmd *cobra.Command) (url.Values, error) {
	query := make(url.Values)
	if cmd.Flags().Changed("code") {
		code, err := cmd.Flags().GetInt("code")
		if err != nil {
			return nil, err
		}
		query.Set("code", strconv.Itoa(code))
	}
	if cmd.Flags().Changed("reason") {
		reason, err := cmd.Flags().GetString("reason")
		if err != nil {
			return nil, err
		}
		query.Set("reason", reason)
	}
	return query, nil
}

// killEach ends the connections with the IDs. Where it ends the work, what has ended so
// far is said as well.
func killEach(cmd *cobra.Command, endpoint *adminEndpoint, ids []string, ending url.Values) error {
	var failures []error
	ended := 0
	for _, id := range ids {
		n, err := endAt(cmd.Context(), endpoint, connectionsPath+"/"+url.PathEscape(id), ending)
		ended += n
		if err != nil && exitStatusOf(err) == exitRefused {
			err = fmt.Errorf("connection %q: %w", id, err)
		}
		if err != nil {
			failures = append(failures, err)
		}
		if err != nil && exitStatusOf(err) != exitRefused {
			break
		}
	}
	if ended > 0 || len(failures) == 0 {
		printEnded(cmd, ended)
	}
	return errors.Join(failures...)
}

// killMatching ends the connections that match, after a question where there is somebody
// to answer it.
func killMatching(cmd *cobra.Command, endpoint *adminEndpoint, filters, ending url.Values) error {
	sure, err := cmd.Flags().GetBool("yes")
	if err != nil {
		return err
	}
	if in := cmd.InOrStdin(); !sure && isTerminal(in) && isTerminal(cmd.ErrOrStderr()) {
		looked := maps.Clone(filters)
		if meansFleet(cmd) {
			looked.Set("fleet", "true")
		}
		connections, _, err := fetchConnections(cmd.Context(), endpoint, looked)
		if err != nil {
			return err
		}
		if len(connections) == 0 {
			printEnded(cmd, 0)
			return nil
		}
		cmd.PrintErrf("End %s? [y/N] ", counted(len(connections), "connection"))
		answer, _ := bufio.NewReader(in).ReadString('\n')
		if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
			return commandFailure(exitRefused, "nothing was ended")
		}
	}
	maps.Copy(filters, ending)
	ended, err := endAt(cmd.Context(), endpoint, connectionsPath, filters)
	if err != nil {
		return err
	}
	printEnded(cmd, ended)
	return nil
}

// endAt ends what is at the path, and returns how many that were.
func endAt(ctx context.Context, endpoint *adminEndpoint, path string, query url.Values) (int, error) {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	var said struct {
		Ended int `json:"ended"`
	}
	_, err := endpoint.callFor(ctx, http.MethodDelete, path, nil, &said)
	return said.Ended, err
}

func printEnded(cmd *cobra.Command, ended int) {
	if wantsJSON(cmd) {
		printJSON(cmd, json.RawMessage(fmt.Sprintf(`{"ended":%d}`, ended)))
		return
	}
	fmt.Fprintln(cmd.OutOrStdout(), "ended", counted(ended, "connection"))
}
