package messages

// Verdict is what becomes of a message. The zero Verdict is [Pass].
type Verdict struct {
	Kind    Kind
	Type    Type   // of a reply; none for other kinds
	Payload []byte // of a reply; UTF-8 in a text
	Code    int    // of a close frame, as ValidClose has them
	Reason  string // of a close frame: UTF-8, at most 123 bytes
}

// Kind is the kind of a verdict.
type Kind uint8

// The kinds of verdicts.
const (
	KindPass  Kind = iota // the message goes on
	KindDrop              // it ends here
	KindReply             // it ends here, and whoever sent it is answered
	KindClose             // the connection ends
)

// Pass lets the message go on, with what the handler has made of it: to the next
// handler, and after the last one to the other side.
var Pass Verdict

// Drop ends the message here.
func Drop() Verdict { return Verdict{Kind: KindDrop} }

// Reply ends the message here, and answers it: the sender gets the payload. No handler
// sees the answer.
func Reply(t Type, payload []byte) Verdict {
	return Verdict{Kind: KindReply, Type: t, Payload: payload}
}

// Close ends the connection. The client gets the close code and the reason (RFC 6455,
// section 7.4), and so does an upstream that has sent the message. Codes are 1000, 1003,
// 1007 to 1009, 1011, and 3000 to 4999; a reason has at most 123 bytes.
func Close(code int, reason string) Verdict {
	return Verdict{Kind: KindClose, Code: code, Reason: reason}
}

// ValidClose reports whether [Close] may be called with the code and the reason.
func ValidClose(code int, reason string) bool {
	switch {
	case len(reason) > 123:
		return false
	case code == 1000, code == 1003, 1007 <= code && code <= 1009, code == 1011:
		return true
	}
	return 3000 <= code && code <= 4999
}
