package command

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// listedGateway is a gateway as the admin endpoint shows it.
type listedGateway struct {
	Name      string           `json:"name"`
	Upstreams []listedUpstream `json:"upstreams"`

	// What has come of its handshakes and what has passed, since the process began.
	Handshakes           map[string]uint64 `json:"handshakes"`
	MessagesFromClient   uint64            `json:"messages_from_client"`
	MessagesFromUpstream uint64            `json:"messages_from_upstream"`
	BytesFromClient      uint64            `json:"bytes_from_client"`
	BytesFromUpstream    uint64            `json:"bytes_from_upstream"`
}

// live is how many connections the gateway has.
func (g *listedGateway) live() (n int) {
	for _, upstream := range g.Upstreams {
		n += upstream.Live
	}
	return n
}

// listedUpstream is an upstream of a gateway as the admin endpoint shows it.
type listedUpstream struct {
	Address string  `json:"address"`
	State   string  `json:"state"`
	Weight  float64 `json:"weight"`
	Live    int     `json:"live"`
	Streams int     `json:"streams"`
	Opened  uint64  `json:"opened"`
	Failed  uint64  `json:"failed"`
}

// fetchGateways reads all gateways, or the one with the name. It also returns each as
// the admin endpoint has written it.
func fetchGateways(ctx context.Context, endpoint *adminEndpoint, name string) ([]listedGateway, []json.RawMessage, error) {
	gateways, documents, err := fetchPage[listedGateway](ctx, endpoint, adminRoot, nil)
	if err != nil || name == "" {
		return gateways, documents, err
	}
	names := make([]string, 0, len(gateways))
	for i, gateway := range gateways {
		if gateway.Name == name {
			return gateways[i : i+1], documents[i : i+1], nil
		}
		names = append(names, fmt.Sprintf("%q", gateway.Name))
	}
	if len(names) == 0 {
		return nil, nil, commandFailure(exitRefused, "there is no gateway %q: there is none", name)
	}
	return nil, nil, commandFailure(exitRefused, "there is no gateway %q: known are %s", name, strings.Join(names, ", "))
}

// streamsText is how many of the connections are streams, or nothing where none is.
func (u *listedUpstream) streamsText() string {
	if u.Streams == 0 {
		return ""
	}
	return strconv.Itoa(u.Streams)
}

// shareText is a part of the whole in percent, or nothing where there is no whole.
func shareText(part, whole int) string {
	if whole == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f%%", 100*float64(part)/float64(whole))
}
