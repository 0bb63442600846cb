package bulletin

import (
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// listen hears the messages of the engine for as long as it is linked. An outage would
// have ended the link before there are many failures.
func (b *Board) listen(l *link) {
	for failed := 1; ; failed++ {
		heard, err := b.listenOnce(l)
		if heard {
			failed = 0
		}
		if failed == failures && l.ctx.Err() == nil {
			b.troubles.say(isDeaf, "", err)
		}
		again := time.NewTimer(retry)
		select {
		case <-again.C:
		case <-l.ctx.Done():
			again.Stop()
			return
		}
	}
}

// listenOnce listens until nothing is heard any more, and reports whether it has listened
// at all. Once it does, a beat tells what was missed.
func (b *Board) listenOnce(l *link) (heard bool, err error) {
	defer panics.ContainInto(&err, nil)
	listening := func() {
		heard = true
		b.poke()
	}
	err = l.engine.Listen(l.ctx, b.config.ID, listening, func(message []byte) { b.heed(l, message) })
	return heard, err
}

// heed takes a message. What is no message of the fleet is ignored.
func (b *Board) heed(l *link, message []byte) {
	defer panics.Contain()
	if len(message) == 0 {
		return
	}
	switch kind, data := message[0], message[1:]; kind {
	case messageAgain:
		b.poke()
	case messageQuestion:
		b.heedQuestion(l, data)
	case messageAnswer:
		b.heedAnswer(data)
	}
}
