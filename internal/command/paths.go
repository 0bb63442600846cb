package command

// What the admin endpoint serves, by its paths.
const (
	adminRoot       = "/ws_gateway/"
	adminUpstreams  = adminRoot + "upstreams"
	connectionsPath = adminRoot + "connections"
	fleetPath       = adminRoot + "fleet"
	nodePath        = adminRoot + "node"
	revocationsPath = adminRoot + "revocations"
)
