package wsgateway

import (
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// caps are what the clients of a gateway are held to before they are let in.
func (l *Limit) caps() admission.Caps {
	if l == nil {
		return admission.Caps{}
	}
	caps := admission.Caps{
		Connections: l.Connections,
		PerIP:       l.ConnectionsPerIP,
		PerUser:     l.ConnectionsPerUser,
		IPv6Bits:    l.ipv6Prefix(),
	}
	if r := l.HandshakesPerIP; r != nil {
		caps.Handshakes = admission.Rate{Count: r.Count, Per: time.Duration(r.Per)}
	}
	return caps
}

// relayPolicy compiles what the connections of a gateway are held to while they live;
// nil for nothing. It holds nothing of the configuration, which connections outlive.
func relayPolicy(gateway string, l *Limit, ping *Ping, idleTimeout time.Duration, strict bool) *relay.Policy {
	p := relay.Policy{Strict: strict, IdleTimeout: idleTimeout}
	if l != nil {
		p.MessageSize = uint64(l.MessageSize)
		p.Messages, p.Bytes = l.Messages.compile(), l.Bytes.compile()
	}
	if ping != nil {
		p.PingInterval, p.PingTimeout = time.Duration(ping.Interval), ping.timeout()
		p.Answered = pingObserver(gateway)
	}
	if p.MessageSize == 0 && p.Messages.Count == 0 && p.Bytes.Count == 0 &&
		!p.Strict && p.PingInterval == 0 && p.IdleTimeout == 0 {
		return nil
	}
	p.Slowed = func(limit string) { countLimited(gateway, limit) }
	return &p
}

// messageSize is the most bytes of a message; 0 for no limit.
func (l *Limit) messageSize() int64 {
	if l == nil {
		return 0
	}
	return l.MessageSize
}

func (r *FlowRate) compile() relay.Rate {
	if r == nil {
		return relay.Rate{}
	}
	return relay.Rate{
		Count: uint64(r.Count),
		Per:   time.Duration(r.Per),
		Burst: uint64(r.burst()),
		Close: r.action() == actionClose,
	}
}

// view is how the limits are shown, without what is used of them.
func (l *Limit) view() live.Limits {
	var v live.Limits
	if l == nil {
		return v
	}
	if l.Connections > 0 {
		v.Connections = &live.TotalView{Max: l.Connections}
	}
	if l.ConnectionsPerIP > 0 {
		v.ConnectionsPerIP = &live.PerIPView{Max: l.ConnectionsPerIP}
	}
	if l.ConnectionsPerUser > 0 {
		v.ConnectionsPerUser = &live.UsersView{Max: l.ConnectionsPerUser}
	}
	if r := l.HandshakesPerIP; r != nil {
		v.HandshakesPerIP = &live.RateView{Max: int64(r.Count), Per: live.Duration(r.Per)}
	}
	if l.MessageSize > 0 {
		v.MessageSize = &live.SizeView{Max: l.MessageSize}
	}
	v.Messages, v.Bytes = l.Messages.view(), l.Bytes.view()
	return v
}

func (r *FlowRate) view() *live.RateView {
	if r == nil {
		return nil
	}
	return &live.RateView{Max: r.Count, Per: live.Duration(r.Per), Burst: r.burst(), Action: r.action()}
}
