package live

import (
	"net/netip"
	"time"
)

// Filter chooses connections: those that have everything that it names. Its zero value
// chooses all.
type Filter struct {
	ID, Gateway, Upstream, User, IP string // IP in any spelling

	Protocol  string
	JTI       string // of the token that the connection stands on, which may be renewed
	OlderThan time.Duration

	// Words in lower case, each of which is in the user, an address, the gateway, the ID, the
	// protocol or the subprotocol.
	Words []string
}

// locked returns the choice, which is to be called under the set's lock.
func (f *Filter) locked(now time.Time) func(*Conn) bool {
	byIP := f.ipMatcher()
	return func(c *Conn) bool {
		switch {
		case f.ID != "" && c.ID != f.ID,
			f.Gateway != "" && c.Gateway != f.Gateway,
			f.Upstream != "" && c.Upstream != f.Upstream,
			f.User != "" && c.UserID != f.User,
			f.Protocol != "" && c.Protocol != f.Protocol,
			f.JTI != "" && c.authority.jti != f.JTI,
			f.OlderThan > 0 && now.Sub(c.OpenedAt) <= f.OlderThan,
			!c.hasWords(f.Words):
			return false
		}
		return f.IP == "" || byIP(c.RemoteIP)
	}
}

// ended is the choice among connections that are over, of which nobody knows the token
// any more.
func (f *Filter) ended() func(*Row) bool {
	byIP := f.ipMatcher()
	return func(r *Row) bool {
		switch {
		case f.Gateway != "" && r.Gateway != f.Gateway,
			f.Upstream != "" && r.Upstream != f.Upstream,
			f.Protocol != "" && r.Protocol != f.Protocol,
			f.User != "" && r.User != f.User:
			return false
		}
		return f.IP == "" || byIP(r.RemoteIP)
	}
}

func (f *Filter) ipMatcher() func(string) bool {
	wanted, err := netip.ParseAddr(f.IP)
	if err != nil {
		return func(ip string) bool { return ip == f.IP }
	}
	wanted = wanted.Unmap()
	return func(ip string) bool { return AddrOf(ip).Unmap() == wanted }
}

// EndMatching ends the connections that the filter chooses. It returns how many of them
// were not ending already.
func (s *Set) EndMatching(e Ending, f Filter) int {
	match := f.locked(time.Now())
	if f.ID == "" {
		return s.End(e, match)
	}
	c := s.claimOne(f.ID, match)
	if c == nil {
		return 0
	}
	c.tell(e)
	return 1
}

// claimOne claims the end of a connection, if that matches. It returns nil where there is
// nothing to end.
func (s *Set) claimOne(id string, match func(*Conn) bool) *Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.connections.get(id); c != nil && match(c) && c.claimEnd() {
		return c
	}
	return nil
}
