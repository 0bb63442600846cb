package handshake

import (
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6455 asks for it; nothing secret rests on it
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

func validKey(values []string) bool {
	if len(values) != 1 {
		return false
	}
	// The bits behind the last byte may be set: RFC 4648 section 3.5 leaves that
	// open, and RFC 6455 asks for no more than 16 bytes.
	text := strings.TrimSpace(values[0])
	var key [18]byte
	if base64.StdEncoding.DecodedLen(len(text)) > len(key) {
		return false
	}
	n, err := base64.StdEncoding.Decode(key[:], []byte(text))
	return err == nil && n == 16
}

// NewKey makes the Sec-WebSocket-Key of our own handshake with an upstream.
func NewKey() string {
	var key [16]byte
	_, _ = rand.Read(key[:]) // never fails, says its documentation
	return base64.StdEncoding.EncodeToString(key[:])
}

// Accept is the Sec-WebSocket-Accept that answers a key.
func Accept(key string) string {
	accept := acceptOf(key)
	return string(accept[:])
}

// acceptOf is Accept, which is always as long.
func acceptOf(key string) (accept [28]byte) {
	const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	var buffer [24 + len(guid)]byte
	sum := sha1.Sum(append(append(buffer[:0], key...), guid...)) //nolint:gosec // as above
	base64.StdEncoding.Encode(accept[:], sum[:])
	return accept
}

func isAccept(text, key string) bool {
	accept := acceptOf(key)
	return text == string(accept[:])
}

// CheckAnswer verifies an upstream's 101 (RFC 6455 section 4.1). The reason is empty
// where the answer is right.
func CheckAnswer(res *http.Response, key string, offered http.Header) (reason string) {
	h := res.Header
	accept := h["Sec-Websocket-Accept"]
	switch {
	case len(h["Upgrade"]) != 1 || !strings.EqualFold(h["Upgrade"][0], "websocket"):
		return "its Upgrade is not websocket"
	case !httpguts.HeaderValuesContainsToken(h["Connection"], "upgrade"):
		return "its Connection does not name upgrade"
	case len(accept) != 1 || !isAccept(accept[0], key):
		return "its Sec-WebSocket-Accept does not answer the key"
	}
	protocols := h["Sec-Websocket-Protocol"]
	if len(protocols) > 1 || len(protocols) == 1 && !slices.Contains(ListOf(offered["Sec-Websocket-Protocol"]), protocols[0]) {
		return "its Sec-WebSocket-Protocol was not offered"
	}
	offers := extensionNames(offered["Sec-Websocket-Extensions"])
	var seen []string
	for _, name := range extensionNames(h["Sec-Websocket-Extensions"]) {
		if !slices.Contains(offers, name) || slices.Contains(seen, name) {
			return "its Sec-WebSocket-Extensions were not offered"
		}
		seen = append(seen, name)
	}
	return ""
}

// ReservedBits returns what the extensions that an upstream has accepted may use of the
// reserved bits of frames (RFC 6455 section 5.2), as [wsframe.Discipline] takes it.
func ReservedBits(answer http.Header) byte {
	bits := byte(0)
	for _, name := range extensionNames(answer["Sec-Websocket-Extensions"]) {
		if name != "permessage-deflate" {
			return wsframe.UnknownExtension
		}
		bits = wsframe.Deflate
	}
	return bits
}

// extensionNames lists the names in Sec-WebSocket-Extensions values. A comma or
// semicolon in a quoted parameter could only add names that no client offers.
func extensionNames(values []string) []string {
	list := ListOf(values)
	for i, item := range list {
		name, _, _ := strings.Cut(item, ";")
		list[i] = strings.ToLower(strings.TrimSpace(name))
	}
	return list
}
