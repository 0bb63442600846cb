package live

import (
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/revocation"
)

// Revoke puts a revocation in force and ends the connections that it covers. It returns
// the revocation as it is kept, and how many connections were not ending already. The
// error is [revocation.ErrFull].
//
// Whatever is verified at the same time finds the revocation in the list, or is in the
// set already when the connections are looked through.
func (s *Set) Revoke(r revocation.Revocation) (kept revocation.Revocation, ended int, err error) {
	if kept, err = s.Revocations.Add(r); err != nil {
		return r, 0, err
	}
	return kept, s.End(endOf(&kept), func(c *Conn) bool { return kept.Covers(c.credentialLocked()) }), nil
}

// EndRevoked ends the connections whose credential was revoked, after revocations were
// learned that the set was not told of by Revoke.
func (s *Set) EndRevoked() {
	ends := make(map[*Conn]Ending)
	s.list(func(c *Conn) bool {
		r := s.Revocations.Find(c.credentialLocked())
		if r == nil || !c.claimEnd() {
			return false
		}
		ends[c] = endOf(r)
		return true
	})
	for c, end := range ends {
		c.tell(end)
	}
}

// endOf is the end of the connections that a revocation covers.
func endOf(r *revocation.Revocation) Ending {
	return Ending{Client: relay.Close{Code: r.Code, Reason: r.Reason}, Upstream: EndRevoked.Upstream}
}

// revokedLocked returns the end of a connection that no loaded configuration lets in any
// more, or whose credential was revoked; nil where it may stay.
func (s *Set) revokedLocked(c *Conn) *Ending {
	if r := s.Revocations.Find(c.credentialLocked()); r != nil {
		end := endOf(r)
		return &end
	}
	if !s.stillAcceptedLocked(c) {
		return &EndRevoked
	}
	return nil
}

// LatestEnd is when the last of the tokens with the ID ends that live connections stand
// on, leeway included. It is zero where there is none, or one has no end.
func (s *Set) LatestEnd(jti, gateway string) (end time.Time) {
	endless := false
	s.walk(func(c *Conn) {
		switch a := &c.authority; {
		case a.jti != jti || gateway != "" && c.Gateway != gateway:
		case a.expires.IsZero():
			endless = true
		case a.expires.After(end):
			end = a.expires
		}
	})
	if endless {
		return time.Time{}
	}
	return end
}
