package command

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// topListed is how many of the busiest connections are looked at: more than any screen
// has room for. A filter looks for so many among all that the admin endpoint lists.
const topListed = 200

// topQuery is what of a node is looked at.
type topQuery struct {
	gateway, sort, filter string
}

// topSample is a node as it was at a time, with the documents of the admin endpoint.
type topSample struct {
	at          time.Time
	node        nodeState
	gateways    []listedGateway
	connections []listedConnection

	gatewayDocuments, connectionDocuments []json.RawMessage
}

func fetchSample(ctx context.Context, endpoint *adminEndpoint, wanted topQuery) (*topSample, error) {
	var sample topSample
	var err error
	if sample.node, err = nodeOf(ctx, endpoint); err != nil {
		return nil, err
	}
	if sample.gateways, sample.gatewayDocuments, err = fetchGateways(ctx, endpoint, wanted.gateway); err != nil {
		return nil, err
	}
	sample.at = time.Now()
	query := url.Values{"sort": {wanted.sort}, "limit": {strconv.Itoa(topListed)}}
	if wanted.gateway != "" {
		query.Set("gateway", wanted.gateway)
	}
	if wanted.filter != "" {
		query.Set("limit", strconv.Itoa(maxListed))
	}
	connections, documents, err := fetchConnections(ctx, endpoint, query)
	if err != nil {
		return nil, err
	}
	for i, connection := range connections {
		if len(sample.connections) < topListed && connection.has(wanted.filter) {
			sample.connections = append(sample.connections, connection)
			sample.connectionDocuments = append(sample.connectionDocuments, documents[i])
		}
	}
	return &sample, nil
}

// has reports whether the text is in anything that tells one connection from another,
// whatever the case of its letters.
func (c *listedConnection) has(text string) bool {
	text = strings.ToLower(text)
	for _, member := range []string{c.ID, c.User, c.RemoteIP, c.Upstream, c.Gateway, c.Subprotocol, c.Protocol} {
		if strings.Contains(strings.ToLower(member), text) {
			return true
		}
	}
	return false
}

// topRates is what happened in a second, on average, between two samples.
type topRates struct {
	known                              bool
	handshakes                         float64
	messagesUp, messagesDown           float64
	bytesUp, bytesDown                 float64
	openedByUpstream, failedByUpstream map[upstreamKey]float64
}

// upstreamKey is an upstream of a gateway.
type upstreamKey struct{ gateway, address string }

// ratesBetween finds the rates, which are not known where Caddy was started anew in
// between.
func ratesBetween(before, after *topSample) topRates {
	seconds := 0.0
	if before != nil {
		seconds = after.at.Sub(before.at).Seconds()
	}
	if seconds <= 0 || before.node.ID != after.node.ID {
		return topRates{}
	}
	rate := func(earlier, later uint64) float64 {
		if later < earlier { // a gateway that was gone
			return 0
		}
		return float64(later-earlier) / seconds
	}
	rates := topRates{known: true, openedByUpstream: make(map[upstreamKey]float64), failedByUpstream: make(map[upstreamKey]float64)}
	earlier := make(map[string]listedGateway)
	for _, gateway := range before.gateways {
		earlier[gateway.Name] = gateway
	}
	for _, gateway := range after.gateways {
		then, listed := earlier[gateway.Name]
		if !listed { // what it has counted may be from before it was taken out
			continue
		}
		for result, count := range gateway.Handshakes {
			rates.handshakes += rate(then.Handshakes[result], count)
		}
		rates.messagesUp += rate(then.MessagesFromClient, gateway.MessagesFromClient)
		rates.messagesDown += rate(then.MessagesFromUpstream, gateway.MessagesFromUpstream)
		rates.bytesUp += rate(then.BytesFromClient, gateway.BytesFromClient)
		rates.bytesDown += rate(then.BytesFromUpstream, gateway.BytesFromUpstream)
		rates.addUpstreams(gateway, then, rate)
	}
	return rates
}

func (r *topRates) addUpstreams(gateway, then listedGateway, rate func(earlier, later uint64) float64) {
	earlier := make(map[string]listedUpstream)
	for _, upstream := range then.Upstreams {
		earlier[upstream.Address] = upstream
	}
	for _, upstream := range gateway.Upstreams {
		before, listed := earlier[upstream.Address]
		if !listed {
			continue
		}
		key := upstreamKey{gateway.Name, upstream.Address}
		r.openedByUpstream[key] = rate(before.Opened, upstream.Opened)
		r.failedByUpstream[key] = rate(before.Failed, upstream.Failed)
	}
}
