package live

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/revocation"
)

// Authority is the token or other credential that a connection lives by. It may be
// replaced by a renewal. The zero value is that of a connection without authentication.
type Authority struct {
	jti        string
	credential unique.Handle[string] // zero for none, as is the issuer; most connections share both
	issuer     unique.Handle[string]
	issued     int64     // in seconds since 1970; 0 where nobody knows
	expires    time.Time // zero for never
}

// NewAuthority describes a token, and does not hold its text. The times may be zero: it
// does not say when it was issued, or has no end.
func NewAuthority(jti, credential, issuer string, issued, expires time.Time) Authority {
	a := Authority{jti: strings.Clone(jti), issued: max(0, issued.Unix()), expires: expires}
	if credential != "" {
		a.credential = unique.Make(credential)
	}
	if issuer != "" {
		a.issuer = unique.Make(issuer)
	}
	return a
}

// credentialName is the credential; empty where it is not known.
func (a Authority) credentialName() string {
	if a.credential == (unique.Handle[string]{}) {
		return ""
	}
	return a.credential.Value()
}

// credentialOf is what a revocation may refuse of the authority.
func (a Authority) credentialOf(gateway, userID string) revocation.Credential {
	return revocation.Credential{Gateway: gateway, User: userID, JTI: a.jti, Issued: a.issued}
}

// mayShareUsers reports whether equal user IDs under both authorities may be the same
// user: the IDs of an issuer mean nothing to another (RFC 7519, section 4.1.2).
func (a Authority) mayShareUsers(other Authority) bool {
	var none unique.Handle[string]
	return a.issuer == other.issuer || a.issuer == none || other.issuer == none
}

// access is a credential together with a member that it leads to, in some loaded
// configuration; the member is empty in the access that stands for the credential
// wherever it leads. The end of either access ends the connections that it let in.
type access struct{ member, credential string }

// both returns the access to the member, and the access that stands for its credential
// wherever it leads.
func (a access) both() [2]access { return [...]access{{"", a.credential}, a} }

// accept notes that a configuration has the access; withdraw is called once for each
// accept.
func (s *Set) accept(a access) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range a.both() {
		s.accesses[one]++
	}
}

func (s *Set) withdraw(a access) {
	for _, one := range a.both() {
		s.withdrawOne(one)
	}
}

func (s *Set) withdrawOne(a access) {
	defer panics.Contain() // a reload has other connections to end
	if s.dropAccess(a) {
		s.End(EndRevoked, func(c *Conn) bool {
			return c.authority.credentialName() == a.credential && (a.member == "" || c.member == a.member)
		})
	}
}

// dropAccess reports whether the connections that the access let in have to end: no
// loaded configuration has the access any more. It is false where only the member is
// gone, whose connections are drained.
func (s *Set) dropAccess(a access) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return drop(s.accesses, a) &&
		(a.member == "" || !s.acceptsLocked("", a.credential) || s.namedLocked(a.member))
}

// acceptsLocked reports whether a loaded configuration lets the credential in to
// the member; anywhere, where the member is empty.
func (s *Set) acceptsLocked(member, credential string) bool {
	return s.accesses[access{member, credential}] > 0
}

// stillAcceptedLocked reports whether a loaded configuration accepts the credential
// that let the connection in. It is true where the credential is not known.
func (s *Set) stillAcceptedLocked(c *Conn) bool {
	credential := c.authority.credentialName()
	switch {
	case credential == "":
		return true
	case !s.namedLocked(c.member):
		return s.acceptsLocked("", credential)
	}
	return s.acceptsLocked(c.member, credential)
}

// Credentials are the credentials that one configuration accepts, for its members.
// They may change while the configuration is in force; reading them takes no lock.
type Credentials struct {
	set    *Set
	mu     sync.Mutex // for changes; it comes before the set's
	closed bool
	all    atomic.Pointer[map[access]bool]
}

// NewCredentials returns the credentials of a configuration, none so far.
func (s *Set) NewCredentials() *Credentials {
	cr := &Credentials{set: s}
	cr.all.Store(new(map[access]bool))
	return cr
}

// Lead reports whether the credential leads to the member.
func (cr *Credentials) Lead(member, credential string) bool {
	return (*cr.all.Load())[access{member, credential}]
}

// Accept adds the credentials, for the members, as far as they are not there yet.
func (cr *Credentials) Accept(credentials, members []string) {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	if cr.closed {
		return
	}
	all := cr.copyLocked()
	defer cr.all.Store(&all)
	for _, credential := range credentials {
		for _, member := range members {
			if a := (access{member, credential}); !all[a] {
				cr.set.accept(a)
				all[a] = true
			}
		}
	}
}

// KeepOnly withdraws all other credentials.
func (cr *Credentials) KeepOnly(credentials []string) {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	cr.withdrawLocked(func(a access) bool { return !slices.Contains(credentials, a.credential) })
}

// Release withdraws all credentials. None is accepted after that.
func (cr *Credentials) Release() {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	cr.closed = true
	cr.withdrawLocked(func(access) bool { return true })
}

func (cr *Credentials) withdrawLocked(goes func(access) bool) {
	all := cr.copyLocked()
	var gone []access
	for a := range all {
		if goes(a) {
			gone = append(gone, a)
			delete(all, a)
		}
	}
	cr.all.Store(&all)
	for _, a := range gone {
		cr.set.withdraw(a)
	}
}

func (cr *Credentials) copyLocked() map[access]bool {
	all := make(map[access]bool)
	maps.Copy(all, *cr.all.Load())
	return all
}
