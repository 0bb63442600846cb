package bulletin

import (
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// listen hears the messages of the engine for as long as it is linked.
func (b *Board) listen(l *link) {
	for {
		b.listenOnce(l)
		again := time.NewTimer(retry)
		select {
		case <-again.C:
		case <-l.ctx.Done():
			again.Stop()
			return
		}
	}
}

// listenOnce listens until nothing is heard any more. Once it listens, a beat tells what
// was missed.
func (b *Board) listenOnce(l *link) {
	defer panics.Contain()
	_ = l.engine.Listen(l.ctx, b.config.ID, b.poke, func(message []byte) { b.heed(l, message) })
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
