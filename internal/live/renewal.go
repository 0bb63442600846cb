package live

// Renewal is the outcome of a try to renew a connection.
type Renewal int

// The outcomes of a try to renew a connection.
const (
	Renewed             Renewal = iota
	RenewalUnknown              // there is no such connection
	RenewalElsewhere            // the credential does not lead to its upstream
	RenewalOtherUser            // the user is another, or may be
	RenewalWithoutAnEnd         // the new authority has no end, and the present one has
	RenewalRevoked              // the new authority was revoked meanwhile
)

// Renew makes the connection live by another authority of the same user. leads
// reports whether the handler that was asked lets a credential in to a member; it
// is called under the set's lock. Nothing is changed where the connection would
// not live by the authority.
func (s *Set) Renew(gateway, id, userID string, by Authority, leads func(member, credential string) bool) Renewal {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.connections.get(id)
	switch {
	case c == nil || c.Gateway != gateway:
		return RenewalUnknown
	case !leads(c.member, by.credentialName()) || !s.acceptsLocked(c.member, by.credentialName()):
		return RenewalElsewhere
	case c.UserID == "" || c.UserID != userID, !c.authority.mayShareUsers(by), !leads(c.member, c.authority.credentialName()):
		return RenewalOtherUser
	case by.expires.IsZero() && !c.authority.expires.IsZero():
		return RenewalWithoutAnEnd
	case s.Revocations.Find(by.credentialOf(gateway, userID)) != nil:
		return RenewalRevoked
	case !s.deadlines.set(c, c.endsBy(by.expires)):
		return RenewalUnknown // it is ending
	}
	c.authority = by
	return Renewed
}
