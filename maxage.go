package wsgateway

import (
	"time"
)

// endsBy is when the connection has to end: when its authority does, or when it
// is too old.
func (c *connection) endsBy(expires time.Time) time.Time {
	if c.tooOld.IsZero() || !expires.IsZero() && expires.Before(c.tooOld) {
		return expires
	}
	return c.tooOld
}

// endOnTime tells the sides of a connection whose time has come.
func (c *connection) endOnTime() {
	if !c.tooOld.IsZero() && !time.Now().Before(c.tooOld) {
		c.tell(endAge)
		return
	}
	c.tell(endExpired)
}
