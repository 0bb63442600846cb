package live

import (
	"slices"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
)

// Gateway is a loaded handler, as the set sees it.
type Gateway interface {
	// Upstreams are the upstreams of the handler that are known without a request.
	Upstreams() []balance.Member

	// Down lists the addresses of the upstreams that health checks have taken out.
	Down([]balance.Member) []string

	// Dynamic lists the dynamic upstreams as they were when last asked for. It is
	// called under the set's lock.
	Dynamic() []string

	// Limits are the limits of the handler, in values that belong to the caller, and
	// without what is used of them.
	Limits() Limits
}

// loaded is a handler with the members that its configuration names.
type loaded struct {
	Gateway
	members []string
}

// Enter makes a loaded handler known under its name, until release.
func (s *Set) Enter(name string, members []string, gateway Gateway) (release func()) {
	entry := &loaded{gateway, slices.Clone(members)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gateways[name] = append(s.gateways[name], entry)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		without(s.gateways, name, entry)
	}
}

// loaded reports whether a loaded handler has the name.
func (s *Set) loaded(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.gateways[name]) > 0
}

// without removes one of the values of a key, and the key with its last value.
func without[V comparable](m map[string][]V, key string, value V) {
	left := slices.DeleteFunc(slices.Clone(m[key]), func(other V) bool { return other == value })
	if len(left) == 0 {
		delete(m, key)
		return
	}
	m[key] = left
}

// Shared reports whether a loaded handler has the name and names other members.
func (s *Set) Shared(name string, members []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.gateways[name], func(h *loaded) bool { return !slices.Equal(h.members, members) })
}

// ReportTo makes logger take the reports of the gateway's connections, until release.
// Of several loggers the newest takes them, so that reports go where the running
// configuration sends them, and go back where a configuration fails to load.
func (s *Set) ReportTo(gateway string, logger *zap.Logger) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reporters[gateway] = append(s.reporters[gateway], logger)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		without(s.reporters, gateway, logger)
	}
}

// Reporter returns the logger for a gateway's connections; nil where no
// configuration has the gateway any more.
func (s *Set) Reporter(gateway string) *zap.Logger {
	s.mu.Lock()
	defer s.mu.Unlock()
	if loggers := s.reporters[gateway]; len(loggers) > 0 {
		return loggers[len(loggers)-1]
	}
	return nil
}

// AddressesOf lists the upstreams of the connections whose member is one of members.
func (s *Set) AddressesOf(members []string) []string {
	var addresses []string
	s.walk(func(c *Conn) {
		if slices.Contains(members, c.member) && !slices.Contains(addresses, c.Upstream) {
			addresses = append(addresses, c.Upstream)
		}
	})
	return addresses
}
