package log

import (
	"unicode/utf8"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// payload is what is logged of the payload of m, and whether it is less than all. What
// is behind the first Size bytes is looked at for secrets that go beyond these, and is
// not shown even where redaction has made room.
func (l *Log) payload(m *messages.Message) (shown []byte, truncated bool) {
	size := int(*l.Size)
	text := m.Payload
	if len(text) <= size {
		size = len(text)
	} else {
		truncated = true
	}
	if len(l.Redact) > 0 {
		text = whole(text, min(len(text), size+lookBehind), m.Type)
		for _, redaction := range l.Redact {
			var err error
			// what cannot be redacted is not shown, and does not end the connection
			if text, size, err = redaction.rule.Apply(text, size, m.Deadline()); err != nil {
				return nil, true
			}
		}
	}
	if size > int(*l.Size) {
		size, truncated = int(*l.Size), true
	}
	return whole(text, size, m.Type), truncated
}

// whole are the first bytes of a payload, or those of them that are whole runes of a
// text.
func whole(payload []byte, size int, t messages.Type) []byte {
	for t == messages.Text && size > 0 && size < len(payload) && !utf8.RuneStart(payload[size]) {
		size--
	}
	return payload[:size]
}
