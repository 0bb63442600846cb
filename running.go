package wsgateway

import (
	"errors"
	"slices"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	"github.com/wsgateway/caddy-ws-gateway/internal/dial"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/origin"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// running is what Provision compiles a handler's configuration to.
type running struct {
	name          string
	logger        *zap.Logger
	live          *live.Set      // the connections of the process
	fleet         *fleetNode     // the process among the nodes of its fleet
	authenticator *authenticator // nil without auth
	originPolicy  *origin.Policy
	caps          admission.Caps
	hasCap        bool           // that the nodes of a fleet hold together
	relayPolicy   *relay.Policy  // nil for nothing that connections are held to
	streams       streamTypes    // nil for none
	messages      *messageChains // nil where nobody looks into messages
	balancer      *balancer
	probes        *probes // nil where upstreams are not probed
	transport     *transport
	dialer        *dial.Dialer
	forwarder     forwarder
	aliases       aliases
	transportOps  *headers.HeaderOps
	requestOps    *headers.HeaderOps
	responseOps   *headers.RespHeaderOps

	exit func() // ends all connections, because the process exits

	dialInfos map[string]*reverseproxy.DialInfo // of the upstreams without placeholders, by address

	named         []string                 // the members that this configuration names, as live connections know them
	dynamicMember string                   // the member that stands for the dynamic upstreams
	dynamicSeen   atomic.Pointer[[]string] // their addresses, when last asked for

	auth        *loadedAuth
	credentials *live.Credentials // nil without auth

	taken releases // given back by Cleanup
}

// releases give back everything that Provision took, also where Provision failed.
type releases []func() error

// add has release called by giveBack.
func (r *releases) add(release func()) {
	*r = append(*r, func() error { release(); return nil })
}

// addFailing is add for a release that may fail.
func (r *releases) addFailing(release func() error) { *r = append(*r, release) }

// giveBack calls the releases, the latest first, each of them once.
func (r *releases) giveBack() error {
	taken := *r
	*r = nil
	var err error
	for _, release := range slices.Backward(taken) {
		err = errors.Join(err, release())
	}
	return err
}
