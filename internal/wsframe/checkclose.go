package wsframe

import (
	"encoding/binary"
	"unicode/utf8"
)

// CheckClose returns what the payload of a close frame violates, unmasked and without
// the header. The codes that may be on the wire are those that RFC 6455 and IANA's
// registry assign, up to 1014, and 3000 to 4999, which are for libraries and
// applications. All others are refused: those for use inside of an endpoint, unassigned
// ones below 3000, which a later standard would have to be negotiated for, and from 5000
// on, which nothing defines.
func CheckClose(payload []byte) Violation {
	switch {
	case len(payload) == 0:
		return Violation{}
	case len(payload) == 1:
		return Violation{protocolError, "close frame with half a status code"}
	case !onWire(int(binary.BigEndian.Uint16(payload))):
		return Violation{protocolError, "close frame with a status code that must not be sent"}
	case !utf8.Valid(payload[2:]):
		return Violation{invalidPayload, "reason of a close frame is not UTF-8"}
	}
	return Violation{}
}

// onWire reports whether a peer may send the code. AppendClose, which passes on what
// others chose, is more lenient.
func onWire(code int) bool {
	switch code {
	case 1004, NoStatus, 1006:
		return false
	}
	return code >= 1000 && code <= 1014 || code >= 3000 && code <= 4999
}
