package revocation

import (
	"testing"
	"time"
)

// TestRevocationsForOneGatewayCostOthersNothing however many a user has.
func TestRevocationsForOneGatewayCostOthersNothing(t *testing.T) {
	t.Parallel()
	l, now := NewList(), time.Now()
	for i := range 50_000 {
		r := Revocation{User: "alice", Gateway: "chat", IssuedBefore: now.Add(-time.Duration(i) * time.Second), Created: now, Until: now.Add(time.Hour)}
		if _, err := l.Add(r.Identify()); err != nil {
			t.Fatal(err)
		}
	}
	if l.Find(Credential{Gateway: "chat", User: "alice"}) == nil {
		t.Error("the credential is good at the gateway of the revocations")
	}
	start := time.Now()
	for range 10_000 {
		if l.Find(Credential{Gateway: "feed", User: "alice"}) != nil || l.Find(Credential{User: "alice"}) != nil {
			t.Fatal("the credential is revoked elsewhere")
		}
	}
	if took := time.Since(start); took > 20*time.Second { // a minute, where each is looked at
		t.Errorf("looking took %s", took)
	}
}
