package bulletin

import (
	"sync"

	"go.uber.org/zap"
)

// troubles are said once each: they come with every record.
type troubles struct {
	logger *zap.Logger
	said   sync.Map
}

func (t *troubles) say(what, kind string, err error) {
	if _, known := t.said.LoadOrStore(what+"\x00"+kind, true); !known && t.logger != nil {
		t.logger.Warn(what, zap.String("kind", kind), zap.Error(err))
	}
}

// What may be wrong.
const (
	isSealedOtherwise = "the fleet has data that cannot be opened, and that is ignored: give all nodes the same secret"
	isDamaged         = "the fleet has a record that is damaged, and that is ignored"
	isUnknown         = "the fleet has records of a kind that this version does not know, and that are ignored"
	isDeaf            = "the engine of the fleet answers, but lets nothing be heard; what is said on other nodes counts here a heartbeat later, and no survey is answered"
	isNotTaken        = "the engine of the fleet answers, but takes no records or returns none; it is tried again each second until it does"
)
