package wsgateway

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/caddyserver/caddy/v2"
)

// authority is what a connection lives by. The registry's lock guards it,
// because it may be renewed.
type authority struct {
	jti        string
	credential string
	issuer     unique.Handle[string] // zero for none; most connections share it
	expires    time.Time             // zero for never
}

// newAuthority holds nothing of the token that it comes from.
func newAuthority(g *grant) authority {
	a := authority{jti: strings.Clone(g.jti), credential: g.credential, expires: g.expires}
	if g.issuer != "" {
		a.issuer = unique.Make(g.issuer)
	}
	return a
}

// mayShareUsers reports whether a user of the one may be a user of the other:
// issuers name users each for itself (RFC 7519, section 4.1.2).
func (a authority) mayShareUsers(other authority) bool {
	var none unique.Handle[string]
	return a.issuer == other.issuer || a.issuer == none || other.issuer == none
}

// access is a credential together with an upstream that it leads to, in some
// loaded configuration; member is empty in the one that stands for the
// credential wherever it leads. The end of either ends what it let in.
type access struct {
	registry   *registry
	member     string
	credential string
}

// Destruct implements caddy.Destructor: no loaded configuration has it any more.
func (a *access) Destruct() error {
	defer contain(nil) // as with members
	if a.member != "" && a.registry.accepts("", a.credential) && !a.registry.names(a.member) {
		return nil // it is the upstream that is gone, and its connections are drained
	}
	a.registry.endAll(endRevoked, func(c *connection) bool {
		return c.authority.credential == a.credential && (a.member == "" || c.member == a.member)
	})
	return nil
}

func accessKey(member, credential string) string { return member + "\x00" + credential }

// accept tells that a configuration accepts a credential for an upstream;
// withdraw is called once for each accept.
func (g *registry) accept(member, credential string) error {
	for _, m := range [...]string{"", member} {
		if _, _, err := g.accesses.LoadOrNew(accessKey(m, credential), func() (caddy.Destructor, error) {
			return &access{registry: g, member: m, credential: credential}, nil
		}); err != nil {
			return err
		}
	}
	return nil
}

func (g *registry) withdraw(member, credential string) {
	for _, m := range [...]string{"", member} {
		_, _ = g.accesses.Delete(accessKey(m, credential))
	}
}

func (g *registry) accepts(member, credential string) bool {
	refs, ok := g.accesses.References(accessKey(member, credential))
	return ok && refs > 0
}

// accesses are those that one configuration accepts. They may change while it is
// in force, and who looks need not wait.
type accesses struct {
	mu     sync.Mutex // for who changes them; it comes before the registry's
	closed bool
	all    atomic.Pointer[map[way]bool]
}

// way is an access that a configuration has.
type way struct{ member, credential string }

// has reports whether the credential leads to the member.
func (s *accesses) has(member, credential string) bool {
	all := s.all.Load()
	return all != nil && (*all)[way{member, credential}]
}

// accept adds what is not there yet.
func (s *accesses) accept(credentials, members []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.copyLocked()
	defer s.all.Store(&all)
	if s.closed {
		return nil
	}
	for _, credential := range credentials {
		for _, member := range members {
			w := way{member, credential}
			if all[w] {
				continue
			}
			if err := process.accept(member, credential); err != nil {
				return fmt.Errorf("accepting credentials: %w", err)
			}
			all[w] = true
		}
	}
	return nil
}

// keepOnly withdraws what is of other credentials.
func (s *accesses) keepOnly(credentials []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.withdrawLocked(func(w way) bool { return !slices.Contains(credentials, w.credential) })
}

// close withdraws everything. Nothing is accepted after that.
func (s *accesses) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.withdrawLocked(func(way) bool { return true })
}

func (s *accesses) withdrawLocked(goes func(way) bool) {
	all := s.copyLocked()
	var gone []way
	for w := range all {
		if goes(w) {
			gone = append(gone, w)
			delete(all, w)
		}
	}
	s.all.Store(&all)
	for _, w := range gone {
		process.withdraw(w.member, w.credential)
	}
}

func (s *accesses) copyLocked() map[way]bool {
	if all := s.all.Load(); all != nil {
		return maps.Clone(*all)
	}
	return make(map[way]bool)
}

// stillAccepted tells whether a loaded configuration accepts what let the
// connection in. Where that is not known, it does. It is called under mu.
func (g *registry) stillAccepted(c *connection, credential string) bool {
	switch {
	case credential == "":
		return true
	case !g.names(c.member):
		return g.accepts("", credential)
	}
	return g.accepts(c.member, credential)
}

// endAll ends the connections that match and returns how many that are not
// ending already.
func (g *registry) endAll(e ending, match func(*connection) bool) int {
	claimed := g.claimAll(match)
	for _, c := range claimed {
		c.tell(e)
	}
	return len(claimed)
}

// claimAll claims the end of the connections that match, under the lock: each is
// renewed before, and does not match by what it stood on then, or not at all.
func (g *registry) claimAll(match func(*connection) bool) []*connection {
	return g.list(func(c *connection) bool { return match(c) && c.claimEnd() })
}

// renewal is what came of a try to renew a connection.
type renewal int

const (
	renewed renewal = iota
	renewalUnknown
	renewalElsewhere    // the credential does not lead to its upstream
	renewalOtherUser    // another, or perhaps another
	renewalWithoutAnEnd // in place of one that has an end
)

// renew makes the connection live by another grant of the same user. leads
// reports whether the handler that was asked lets a credential in to the
// connection's upstream; it is called under the registry's lock. Nothing is
// changed where the connection would not live by the grant.
func (g *registry) renew(gateway, id string, by *grant, leads func(c *connection, credential string) bool) renewal {
	next := newAuthority(by)
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.connections[id]
	switch {
	case c == nil || c.gateway != gateway:
		return renewalUnknown
	case !leads(c, by.credential) || !g.accepts(c.member, by.credential):
		return renewalElsewhere
	case c.userID == "" || c.userID != by.userID, !c.authority.mayShareUsers(next), !leads(c, c.authority.credential):
		return renewalOtherUser
	case next.expires.IsZero() && !c.authority.expires.IsZero():
		return renewalWithoutAnEnd
	case !g.deadlines.set(c, c.endsBy(next.expires)):
		return renewalUnknown // it is ending
	}
	c.authority = next
	return renewed
}
