package command

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

// listedConnection is a connection as the admin endpoint lists it. What is a pointer
// may be missing.
type listedConnection struct {
	Node        string   `json:"node"` // where those of all nodes are listed
	ID          string   `json:"id"`
	Gateway     string   `json:"gateway"`
	User        string   `json:"user"`
	RemoteIP    string   `json:"remote_ip"`
	Proto       string   `json:"proto"`
	Protocol    string   `json:"protocol"`
	Upstream    string   `json:"upstream"`
	Subprotocol string   `json:"subprotocol"`
	OpenedAt    string   `json:"opened_at"`
	Age         float64  `json:"age"`
	Idle        *float64 `json:"idle"`
	RTT         *float64 `json:"rtt"`
	Pending     *float64 `json:"pending"`
	EndsAt      string   `json:"ends_at"`
	EndsBecause string   `json:"ends_because"`

	MessagesFromClient   uint64 `json:"messages_from_client"`
	MessagesFromUpstream uint64 `json:"messages_from_upstream"`
	BytesFromClient      uint64 `json:"bytes_from_client"`
	BytesFromUpstream    uint64 `json:"bytes_from_upstream"`

	Rates *struct {
		BytesFromClient   float64 `json:"bytes_from_client"`
		BytesFromUpstream float64 `json:"bytes_from_upstream"`
	} `json:"rates"`

	ClosedAt string `json:"closed_at"`
	By       string `json:"by"`
	Code     int    `json:"code"`
	Reason   string `json:"reason"`
	Limit    string `json:"limit"`
}

// addConnectionFlags adds the flags that choose connections.
func addConnectionFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.String("gateway", "", "Those of this gateway")
	flags.String("upstream", "", "Those to this upstream, by its address")
	flags.String("user", "", "Those of this user")
	flags.String("protocol", "", "Those that speak this, such as websocket, or sse for event streams")
	flags.String("jti", "", "Those that stand on the token with this ID")
	flags.String("ip", "", "Those from this address of a client")
	flags.String("older-than", "", "Those that have been open for longer, such as 90s, 1h or 7d")
}

// addFleetFlag adds the flag that means all nodes.
func addFleetFlag(cmd *cobra.Command) {
	cmd.Flags().Bool("fleet", false, "Those of all nodes of the fleet, and not of this one alone")
}

// meansFleet reports whether all nodes are meant.
func meansFleet(cmd *cobra.Command) bool {
	fleet, err := cmd.Flags().GetBool("fleet")
	return err == nil && fleet
}

// warnOfMissing says which nodes did not answer.
func warnOfMissing(cmd *cobra.Command, endpoint *adminEndpoint) {
	if len(endpoint.missing) > 0 {
		cmd.PrintErrln("caddy ws-gateway: no answer from " + escaped(strings.Join(endpoint.missing, ", ")) + ": their connections are not among these")
	}
}

// connectionQuery makes parameters of the flags that choose connections.
func connectionQuery(cmd *cobra.Command) (url.Values, error) {
	query := make(url.Values)
	for _, name := range []string{"gateway", "upstream", "user", "protocol", "jti", "ip", "older-than"} {
		if !cmd.Flags().Changed(name) {
			continue
		}
		text, err := cmd.Flags().GetString(name)
		switch {
		case err != nil:
			return nil, err
		case text == "":
			return nil, usageError(cmd, "--%s: it must not be empty", name)
		case name == "older-than":
			if err := checkDuration(text, false); err != nil {
				return nil, usageError(cmd, "--%s: %w", name, err)
			}
		}
		query.Set(strings.ReplaceAll(name, "-", "_"), text)
	}
	return query, nil
}

// fetchConnections reads the list of connections: all of its pages, or the one answer
// that there is to a query with an order or a limit.
func fetchConnections(ctx context.Context, endpoint *adminEndpoint, query url.Values) ([]listedConnection, []json.RawMessage, error) {
	if query.Has("sort") || query.Has("limit") {
		return fetchPage[listedConnection](ctx, endpoint, connectionsPath, query)
	}
	return fetchPages(ctx, endpoint, connectionsPath, query, func(c listedConnection) string { return c.ID })
}
