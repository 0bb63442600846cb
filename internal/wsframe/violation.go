package wsframe

// Close codes for those who violate the protocol (RFC 6455, section 7.4.1).
const (
	protocolError  = 1002
	invalidPayload = 1007
)

// Violation is what a frame has violated, as the close frame for its sender says it. The
// zero value stands for none.
type Violation struct {
	Code   int // 1002 or 1007
	Reason string
}

// Found reports whether there is a violation.
func (v Violation) Found() bool {
	return v.Code != 0
}

// Violations that are found otherwise than by [Discipline.Judge] and [CheckClose].
var (
	// LengthOverflow is the violation of a frame that is [Header.Endless].
	LengthOverflow = Violation{protocolError, "payload length with the most significant bit set"}
	// TextNotUTF8 is the violation that a [UTF8] has found.
	TextNotUTF8 = Violation{invalidPayload, "text message is not UTF-8"}
)
