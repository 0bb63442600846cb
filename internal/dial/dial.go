// Package dial makes handshakes with upstreams: it knows what their addresses mean,
// and opens connections to them by the settings of the transport of reverse_proxy,
// directly where that comes to the same.
//
// The package knows Caddy, because these settings and the addresses are Caddy's.
package dial

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/tcpdial"
)

// Dialer opens connections to upstreams for handshakes, by the settings of the
// proxy's transport.
type Dialer struct {
	inner     http.RoundTripper
	http      *reverseproxy.HTTPTransport // nil where inner is something else
	oneShot   *http.Transport             // for network proxies; never keeps a connection
	bare      bool                        // a connection of the transport is TCP and no more, TLS aside
	timeout   time.Duration
	pauses    pauses
	localhost *localhost
	clientIP  func(*http.Request) string
}

// pauses are how long an upstream may be silent, once it is connected: before it
// answers, where zero is no limit but that of the handshake, and in the body of a
// refusal. Neither holds after the upgrade.
type pauses struct{ answer, body time.Duration }

// transportKeepAlive is the default interval of TCP keep-alives in Caddy's transport,
// and the interval in tcpdial.
const transportKeepAlive = 30 * time.Second

// New makes a dialer of the transport. timeout is how long an upstream may take for
// its connection and its answer. clientIP returns the address of the client of a
// request, with or without a port, or nothing; the PROXY protocol sends it.
func New(transport http.RoundTripper, timeout time.Duration, clientIP func(*http.Request) string) *Dialer {
	d := &Dialer{inner: transport, timeout: timeout, clientIP: clientIP, localhost: &thisMachine}
	if t, ok := transport.(*reverseproxy.HTTPTransport); ok && t.Transport != nil {
		d.http = t
		d.bare = t.DialTimeout > 0 && t.ProxyProtocol == "" && t.LocalAddress == "" &&
			(t.KeepAlive == nil || t.KeepAlive.ProbeInterval == caddy.Duration(transportKeepAlive))
		d.pauses = pauses{
			answer: shortest(time.Duration(t.ReadTimeout), time.Duration(t.ResponseHeaderTimeout)),
			body:   shortest(time.Duration(t.ReadTimeout), timeout),
		}
		d.oneShot = oneShot(t.Transport, d.pauses)
	}
	return d
}

// Timeout is how long an upstream may take for its connection and its answer.
func (d *Dialer) Timeout() time.Duration { return d.timeout }

// shortest is the least of the limits that are not zero.
func shortest(limits ...time.Duration) (least time.Duration) {
	for _, limit := range limits {
		if limit > 0 && (least <= 0 || limit < least) {
			least = limit
		}
	}
	return least
}

// answerBy is the time by which an upstream that is connected now has to answer.
func (d *Dialer) answerBy(start time.Time) time.Time {
	by := start.Add(d.timeout)
	if d.pauses.answer > 0 {
		if silence := time.Now().Add(d.pauses.answer); silence.Before(by) {
			return silence
		}
	}
	return by
}

// Shake sends the handshake in r, whose URL nobody else uses meanwhile, to the upstream
// and verifies the answer. ready, which
// may be nil, is called once, when the upstream is connected, and before anything of the
// handshake is sent. It may wait. Its error is returned as it is, and the connection is
// closed.
func (d *Dialer) Shake(r *http.Request, info *reverseproxy.DialInfo, ready func() error) (*handshake.Answer, error) {
	if to, ok := d.directly(r, info); ok {
		a, err := d.shakeDirectly(r, to, ready)
		if err != tcpdial.ErrUnsupported { //nolint:errorlint // it is not wrapped
			return a, err
		}
	}
	return d.shakeByTransport(r, *info, ready)
}
