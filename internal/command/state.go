package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/spf13/cobra"
)

// upstreamSet is what the admin endpoint answers when the state of an upstream was set.
type upstreamSet struct {
	Address string `json:"address"`
	State   string `json:"state"`
}

// setStateCommand makes a command that sets the state of upstreams and does nothing
// else.
func setStateCommand(cmd *cobra.Command) *cobra.Command {
	state := cmd.Name()
	return prepareWithArguments(cmd, func(cmd *cobra.Command, addresses []string) error {
		if err := checkAddresses(cmd, addresses); err != nil {
			return err
		}
		endpoint, err := endpointOf(cmd)
		if err != nil {
			return err
		}
		set, documents, err := setUpstreams(cmd.Context(), endpoint, addresses, state)
		printUpstreamsSet(cmd, set, documents)
		return err
	})
}

func checkAddresses(cmd *cobra.Command, addresses []string) error {
	switch {
	case len(addresses) == 0:
		return usageError(cmd, "say which upstreams, by their addresses")
	case slices.Contains(addresses, ""):
		return usageError(cmd, "the address of an upstream must not be empty")
	}
	return nil
}

// setUpstreams sets the state of upstreams, of those that it can. It also returns each
// answer as the admin endpoint has written it.
func setUpstreams(ctx context.Context, endpoint *adminEndpoint, addresses []string, state string) (set []upstreamSet, documents []json.RawMessage, err error) {
	var failures []error
	for _, address := range addresses {
		one, document, err := setUpstreamAt(ctx, endpoint, address, state)
		switch {
		case err == nil:
			set, documents = append(set, one), append(documents, document)
		case exitStatusOf(err) == exitRefused:
			failures = append(failures, fmt.Errorf("upstream %q: %w", address, err))
		default:
			return set, documents, errors.Join(append(failures, err)...)
		}
	}
	return set, documents, errors.Join(failures...)
}

func setUpstreamAt(ctx context.Context, endpoint *adminEndpoint, address, state string) (set upstreamSet, document json.RawMessage, err error) {
	path := adminUpstreams + "?" + url.Values{"address": {address}}.Encode()
	document, err = endpoint.post(ctx, path, map[string]string{"state": state}, &set)
	return set, document, err
}

// printUpstreamsSet prints the upstreams whose state was set, if there are any.
func printUpstreamsSet(cmd *cobra.Command, set []upstreamSet, documents []json.RawMessage) {
	switch {
	case len(set) == 0:
		return
	case wantsJSON(cmd):
		printJSON(cmd, joinJSON(documents))
		return
	}
	rows := make([][]string, 0, len(set))
	for _, one := range set {
		rows = append(rows, []string{one.Address, one.State})
	}
	printTable(cmd, []column{{"ADDRESS", true}, {"STATE", false}}, rows)
}
