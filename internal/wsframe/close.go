package wsframe

import (
	"crypto/rand"
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

// maxReason is the payload of a control frame less the close code.
const maxReason = maxControl - 2

// AppendClose appends a close frame to dst. The frame is always well-formed: a code
// that may not be on the wire, such as [NoStatus], makes a frame without payload; a
// reason that is not UTF-8 is mended; and a reason that is too long is cut at the end
// of a character. A frame to a server must be masked.
func AppendClose(dst []byte, code int, reason string, masked bool) []byte {
	var payload []byte
	if sendable(code) {
		payload = binary.BigEndian.AppendUint16(make([]byte, 0, maxControl), uint16(code))
		payload = append(payload, cutReason(reason)...)
	}
	dst = append(dst, finBit|byte(Close))
	if !masked {
		dst = append(dst, byte(len(payload)))
		return append(dst, payload...)
	}
	dst = append(dst, maskBit|byte(len(payload)))
	var key [4]byte
	_, _ = rand.Read(key[:]) // never fails; section 5.3 asks for keys that cannot be predicted
	dst = append(dst, key[:]...)
	for i, b := range payload {
		dst = append(dst, b^key[i%4])
	}
	return dst
}

// sendable reports whether a close frame may carry the code (RFC 6455, section
// 7.4).
func sendable(code int) bool {
	switch code {
	case 1004, NoStatus, 1006, 1015:
		return false
	}
	return code >= 1000 && code <= 4999
}

// cutReason returns a reason that is UTF-8 and fits into a close frame.
func cutReason(reason string) string {
	reason = strings.ToValidUTF8(reason, string(utf8.RuneError))
	if len(reason) <= maxReason {
		return reason
	}
	end := maxReason
	for !utf8.RuneStart(reason[end]) {
		end--
	}
	return reason[:end]
}
