package dial

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/tcpdial"
)

// knownFor is how long the addresses of localhost are known, which is as long as Go's
// resolver knows what the file of hosts says.
const knownFor = 5 * time.Second

// localhost is this machine, by the name that most configurations have for it. Others are
// looked up by the transport, for each connection: they may be on their way elsewhere.
type localhost struct {
	lookUp func(ctx context.Context, network, host string) ([]netip.Addr, error)
	known  atomic.Pointer[addresses]
}

// addresses are those of localhost, for some time. The first is not valid where
// connections are the transport's to make.
type addresses struct {
	first, second netip.Addr
	until         time.Time
}

// thisMachine is known to all dialers.
var thisMachine = localhost{lookUp: net.DefaultResolver.LookupNetIP}

// at returns where a port of localhost is. It fails where the name stands for more than
// this machine, or for nothing that is found within the limit.
func (l *localhost) at(ctx context.Context, port uint16, limit time.Duration) (to tcpdial.Target, ok bool) {
	known := l.known.Load()
	if known == nil || time.Now().After(known.until) {
		known = l.find(ctx, limit)
	}
	to.TCP = netip.AddrPortFrom(known.first, port)
	if known.second.IsValid() {
		to.Else = netip.AddrPortFrom(known.second, port)
	}
	return to, known.first.IsValid()
}

// find looks localhost up, and remembers what comes of that unless the context is done.
func (l *localhost) find(ctx context.Context, limit time.Duration) *addresses {
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	found, err := l.lookUp(within, "ip", "localhost")
	if err != nil {
		found = nil
	}
	known := loopback(found)
	if known.until = time.Now().Add(knownFor); err == nil || ctx.Err() == nil {
		l.known.Store(known)
	}
	return known
}

// loopback takes what was found as addresses of this machine, one or two.
func loopback(found []netip.Addr) *addresses {
	if len(found) == 0 || len(found) > 2 {
		return new(addresses)
	}
	var both [2]netip.Addr
	for i, addr := range found {
		both[i] = addr.Unmap()
		if !both[i].IsLoopback() || both[i].Zone() != "" {
			return new(addresses)
		}
	}
	return &addresses{first: both[0], second: both[1]}
}
