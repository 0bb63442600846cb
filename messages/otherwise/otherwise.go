// Package otherwise is what handlers of messages have in common: what becomes of a
// message that they do not accept.
package otherwise

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// Otherwise is what becomes of a message that a handler does not accept: exactly one of
// `drop`, `close` and `reply`.
type Otherwise struct {
	// Drops the message: neither side hears of it. Default: false.
	Drop bool `json:"drop,omitempty"`

	// Ends the connection with a close code, which the client gets, and the upstream if it
	// has sent the message. Default: the connection goes on.
	Close *Close `json:"close,omitempty"`

	// Drops the message, and sends this text back to whoever sent the message, as a
	// message of the same type. Placeholders are those of the request that opened the
	// connection, `{time.now}` and its kin, and `{msg.text}`, `{msg.size}`, `{msg.type}`
	// and `{msg.direction}`; an unknown one that begins with `msg.` is an error. Default:
	// nothing is sent.
	Reply string `json:"reply,omitempty"`

	running
}

// Close is a close code and its reason.
type Close struct {
	// The close code: 1000, 1003, 1007 to 1009, 1011, or 3000 to 4999. It must be there;
	// other ones are an error.
	Code int `json:"code"`

	// The reason, of at most 123 bytes without its placeholders. These are those that a
	// reply has, and the reason is cut where they make it longer. Default: none.
	Reason string `json:"reason,omitempty"`
}

// running is what Provision makes of an Otherwise.
type running struct {
	reason, reply *messages.Template
}

// longestReason is the most bytes that a close frame has room for (RFC 6455, section 5.5).
const longestReason = 123

// Validate returns an error unless there is exactly one of drop, close and reply, and
// it can be sent. It may be called before Provision, and o may be nil.
func (o *Otherwise) Validate() error {
	if o == nil {
		return nil
	}
	ways := 0
	for _, said := range []bool{o.Drop, o.Close != nil, o.Reply != ""} {
		if said {
			ways++
		}
	}
	if ways != 1 {
		return errors.New("else: say exactly one of drop, close and reply")
	}
	if !utf8.ValidString(o.Reply) {
		return errors.New("else: the reply must be valid UTF-8")
	}
	if err := messages.ParseTemplate(o.Reply).Validate(); err != nil {
		return fmt.Errorf("else: the reply: %w", err)
	}
	if o.Close == nil {
		return nil
	}
	if !messages.ValidClose(o.Close.Code, "") {
		return fmt.Errorf("else: the close code %d cannot be sent: %s", o.Close.Code, codes)
	}
	if !utf8.ValidString(o.Close.Reason) {
		return errors.New("else: the reason must be valid UTF-8")
	}
	reason := messages.ParseTemplate(o.Close.Reason)
	if n := reason.Least(); n > longestReason {
		return fmt.Errorf("else: the reason has %d bytes: shorten it to %d", n, longestReason)
	}
	if err := reason.Validate(); err != nil {
		return fmt.Errorf("else: the reason: %w", err)
	}
	return nil
}

// codes are those of messages.ValidClose.
const codes = "use 1000, 1003, 1007 to 1009, 1011, or 3000 to 4999"

// Provision makes the templates. An Otherwise that is nil has none.
func (o *Otherwise) Provision() {
	if o == nil {
		return
	}
	o.reply = messages.ParseTemplate(o.Reply)
	if o.Close != nil {
		o.reason = messages.ParseTemplate(o.Close.Reason)
	}
}

// Placeholders are those that the request has to tell, once provisioned: what a handler
// returns as [messages.PlaceholderUser].
func (o *Otherwise) Placeholders() []string {
	switch {
	case o == nil:
		return nil
	case o.Close != nil:
		return o.reason.Placeholders()
	}
	return o.reply.Placeholders()
}

// Verdict is what becomes of m, once provisioned. An Otherwise that is nil drops. A
// reply has the type of m.
func (o *Otherwise) Verdict(m *messages.Message) messages.Verdict {
	switch {
	case o == nil || o.Drop:
		return messages.Drop()
	case o.Close != nil:
		return messages.Close(o.Close.Code, cut(valid(o.reason.Expand(m))))
	}
	reply := o.reply.Expand(m)
	if m.Type == messages.Text {
		reply = valid(reply)
	}
	return messages.Reply(m.Type, []byte(reply))
}

// valid is the text in valid UTF-8, which neither texts nor reasons may be without.
// What was in a request's headers need not be.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// cut returns what of the reason has room in a close frame, in whole runes.
func cut(reason string) string {
	if len(reason) <= longestReason {
		return reason
	}
	end := longestReason
	for !utf8.RuneStart(reason[end]) {
		end--
	}
	return reason[:end]
}

// NeedsPayload reports whether the verdict has something of the payload in it, which a
// [messages.PayloadIgnorer] has to do without, or is a reply: messages that may be
// answered are brought together first, so that what is answered was a whole message.
func (o *Otherwise) NeedsPayload() bool {
	switch {
	case o == nil || o.Drop:
		return false
	case o.Close != nil:
		return strings.Contains(o.Close.Reason, "{msg.text}") || strings.Contains(o.Close.Reason, "{msg.size}")
	}
	return true
}
