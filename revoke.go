package wsgateway

import "github.com/caddyserver/caddy/v2"

// authority is what a connection lives by. The registry's lock guards it,
// because it may be renewed.
type authority struct {
	jti        string
	credential string
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

// stillAccepted tells whether a loaded configuration accepts what let the
// connection in. Where that is not known, it does.
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
	ended := 0
	for _, c := range g.list(match) {
		if c.end(e) {
			ended++
		}
	}
	return ended
}

// renewal is what came of a try to renew a connection.
type renewal int

const (
	renewed renewal = iota
	renewalUnknown
	renewalOtherUser
)

// renew makes the connection live by another grant of the same user.
func (g *registry) renew(gateway, id string, by *grant) renewal {
	g.mu.Lock()
	c := g.connections[id]
	switch {
	case c == nil || c.gateway != gateway || c.leaving.Load():
		g.mu.Unlock()
		return renewalUnknown
	case c.userID == "" || c.userID != by.userID:
		g.mu.Unlock()
		return renewalOtherUser
	}
	c.authority = authority{jti: by.jti, credential: by.credential}
	g.deadlines.set(c, c.endsBy(by.expires))
	g.mu.Unlock()
	if !g.stillAccepted(c, by.credential) { // withdrawn in the meantime
		c.end(endRevoked)
	}
	return renewed
}
