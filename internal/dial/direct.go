package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/tcpdial"
)

const maxKeptHead = 16 << 10 // bytes of a buffer that is kept for the next handshake

// heads are buffers for the heads of handshakes.
var heads = sync.Pool{New: func() any { return new([]byte) }}

// directly reports whether the upstream is reached by TCP alone, at an address or at
// localhost, or by a unix socket alone.
func (d *Dialer) directly(r *http.Request, info *reverseproxy.DialInfo) (to tcpdial.Target, ok bool) {
	if !d.bare || d.overTLS(*info) {
		return to, false
	}
	switch info.Network {
	case "unix":
		to.Unix = info.Address
		return to, to.Unix != ""
	case "tcp":
		to, ok = d.atAddress(r.Context(), info.Address)
		return to, ok && !d.viaNetworkProxy(r, *info)
	}
	return to, false
}

// atAddress returns where an address is that nobody has to be asked for.
func (d *Dialer) atAddress(ctx context.Context, address string) (to tcpdial.Target, ok bool) {
	if port, named := strings.CutPrefix(address, "localhost:"); named {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || d.http.Resolver != nil {
			return to, false
		}
		return d.localhost.at(ctx, uint16(n), d.connectedWithin())
	}
	addr, err := netip.ParseAddrPort(address)
	return tcpdial.Target{TCP: addr}, err == nil
}

// shakeDirectly makes the handshake at such an address.
func (d *Dialer) shakeDirectly(r *http.Request, to tcpdial.Target, ready func() error) (*handshake.Answer, error) {
	key, start := handshake.NewKey(), time.Now()
	if ready != nil {
		return d.shakeDirectlyGated(r, to, key, start, ready)
	}
	conn, err := d.dialDirectly(r, to, key, start)
	if err != nil {
		return nil, err
	}
	return handshake.Exchange(r.Context(), r, conn, nil, key, d.answerBy(start), d.pauses.body)
}

// shakeDirectlyGated is shakeDirectly where the connection has to be there before the
// head is sent.
func (d *Dialer) shakeDirectlyGated(r *http.Request, to tcpdial.Target, key string, start time.Time, ready func() error) (*handshake.Answer, error) {
	buffer := heads.Get().(*[]byte) //nolint:forcetypeassert // it holds nothing else
	defer heads.Put(buffer)
	head, err := handshake.AppendHead((*buffer)[:0], r, key)
	if err != nil {
		return nil, err
	}
	if cap(head) <= maxKeptHead {
		*buffer = head
	}
	conn, err := tcpdial.Connect(r.Context(), to, d.connectedBy(start))
	if err != nil {
		return nil, failedDial(r.Context(), err)
	}
	if err := pass(conn, ready); err != nil {
		return nil, err
	}
	return handshake.Exchange(r.Context(), r, conn, head, key, d.answerBy(start), d.pauses.body)
}

// connectedBy is the time by which a connection has to be there.
func (d *Dialer) connectedBy(start time.Time) time.Time {
	return start.Add(d.connectedWithin())
}

func (d *Dialer) connectedWithin() time.Duration {
	return min(d.timeout, time.Duration(d.http.DialTimeout))
}

// dialDirectly connects and sends the head of the handshake.
func (d *Dialer) dialDirectly(r *http.Request, to tcpdial.Target, key string, start time.Time) (net.Conn, error) {
	head := heads.Get().(*[]byte) //nolint:forcetypeassert // it holds nothing else
	defer heads.Put(head)
	written, err := handshake.AppendHead((*head)[:0], r, key)
	if err != nil {
		return nil, err
	}
	if cap(written) <= maxKeptHead {
		*head = written
	}
	conn, err := tcpdial.Dial(r.Context(), to, written, d.connectedBy(start))
	if err != nil {
		return nil, failedDial(r.Context(), err)
	}
	return conn, nil
}

// failedDial says what the error of a dialer means.
func failedDial(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, tcpdial.ErrUnsupported):
		return err
	case ctx.Err() != nil:
		return context.Canceled
	case tcpdial.WasThere(err):
		return fmt.Errorf("%w: %w", handshake.ErrDropped, err)
	}
	return fmt.Errorf("%w: %w", handshake.ErrDead, err)
}
