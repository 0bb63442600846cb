package wsgateway

import (
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6455 asks for it; nothing secret rests on it
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// kind is what a request turned out to be.
type kind uint8

const (
	plainRequest kind = iota
	handshakeRequest
	brokenHandshake
	malformedRequest // neither a handshake nor anything else that HTTP allows
)

// classify tells plain HTTP from a WebSocket handshake (RFC 6455 section 4.2.1
// over HTTP/1.1, RFC 8441 over HTTP/2, RFC 9220 over HTTP/3). Whatever tries
// to upgrade to something else, or tries it wrongly, is a broken handshake and
// must not be forwarded in any form.
func classify(r *http.Request) (kind, *refusal) {
	if r.ProtoMajor >= 2 {
		what, rf := classifyExtendedConnect(r)
		if what == handshakeRequest && r.TLS != nil && !r.TLS.HandshakeComplete {
			// RFC 8470: early data may be a replay.
			return brokenHandshake, badHandshake(http.StatusTooEarly, "a handshake in TLS early data")
		}
		return what, rf
	}
	if r.Method == http.MethodConnect {
		return brokenHandshake, badHandshake(http.StatusMethodNotAllowed, "CONNECT is not served here")
	}
	upgrades := r.Header["Upgrade"]
	if len(upgrades) == 0 {
		if len(r.Header["Sec-Websocket-Key"]) > 0 {
			return brokenHandshake, badHandshake(http.StatusBadRequest, "a Sec-WebSocket-Key without an Upgrade header")
		}
		return plainRequest, nil
	}
	if len(upgrades) != 1 || !strings.EqualFold(strings.TrimSpace(upgrades[0]), "websocket") {
		return brokenHandshake, badHandshake(http.StatusBadRequest, "the only protocol to upgrade to is websocket")
	}
	if !httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade") {
		return brokenHandshake, badHandshake(http.StatusBadRequest, "an Upgrade header that Connection does not name")
	}
	if r.Method != http.MethodGet {
		return brokenHandshake, badHandshake(http.StatusMethodNotAllowed, "the method of a handshake is GET")
	}
	if !r.ProtoAtLeast(1, 1) {
		return brokenHandshake, badHandshake(http.StatusBadRequest, "a handshake needs HTTP/1.1")
	}
	if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		return brokenHandshake, badHandshake(http.StatusBadRequest, "a handshake has no body")
	}
	if rf := checkVersion(r); rf != nil {
		return brokenHandshake, rf
	}
	if !validKey(r.Header["Sec-Websocket-Key"]) {
		return brokenHandshake, badHandshake(http.StatusBadRequest, "Sec-WebSocket-Key must be 16 bytes in base64, once")
	}
	return handshakeRequest, nil
}

func classifyExtendedConnect(r *http.Request) (kind, *refusal) {
	if r.Method != http.MethodConnect {
		if len(r.Header[":protocol"]) > 0 || r.ProtoMajor == 3 && !strings.HasPrefix(r.Proto, "HTTP/") {
			return malformedRequest, badHandshake(http.StatusBadRequest, "a :protocol without CONNECT") // RFC 8441 section 4
		}
		return plainRequest, nil
	}
	protocol := r.Header.Get(":protocol")
	if r.ProtoMajor == 3 {
		protocol = r.Proto
	}
	switch {
	case isHandshake(r):
	case protocol == "" || strings.HasPrefix(protocol, "HTTP/"):
		return brokenHandshake, badHandshake(http.StatusMethodNotAllowed, "CONNECT is not served here")
	default:
		return brokenHandshake, badHandshake(http.StatusBadRequest, "the only :protocol is websocket")
	}
	if r.ContentLength > 0 {
		return brokenHandshake, badHandshake(http.StatusBadRequest, "a handshake has no body")
	}
	if rf := checkVersion(r); rf != nil {
		return brokenHandshake, rf
	}
	return handshakeRequest, nil
}

func checkVersion(r *http.Request) *refusal {
	if v := r.Header["Sec-Websocket-Version"]; len(v) == 1 && strings.TrimSpace(v[0]) == "13" {
		return nil
	}
	return badHandshake(http.StatusUpgradeRequired, "the version of the WebSocket protocol is 13")
}

func validKey(values []string) bool {
	if len(values) != 1 {
		return false
	}
	key, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(values[0]))
	return err == nil && len(key) == 16
}

// newKey makes the Sec-WebSocket-Key of our own handshake with an upstream.
func newKey() string {
	var key [16]byte
	_, _ = rand.Read(key[:]) // never fails, says its documentation
	return base64.StdEncoding.EncodeToString(key[:])
}

// acceptOf is the Sec-WebSocket-Accept that answers a key.
func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // as above
	return base64.StdEncoding.EncodeToString(sum[:])
}

// checkAnswer verifies an upstream's 101 (RFC 6455 section 4.1). Its reason is
// empty where the answer is right.
func checkAnswer(res *http.Response, key string, offered http.Header) (reason string) {
	h := res.Header
	accept := h["Sec-Websocket-Accept"]
	switch {
	case len(h["Upgrade"]) != 1 || !strings.EqualFold(h["Upgrade"][0], "websocket"):
		return "its Upgrade is not websocket"
	case !httpguts.HeaderValuesContainsToken(h["Connection"], "upgrade"):
		return "its Connection does not name upgrade"
	case len(accept) != 1 || accept[0] != acceptOf(key):
		return "its Sec-WebSocket-Accept does not answer the key"
	}
	protocols := h["Sec-Websocket-Protocol"]
	if len(protocols) > 1 || len(protocols) == 1 && !slices.Contains(listOf(offered["Sec-Websocket-Protocol"]), protocols[0]) {
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

// listOf splits the values of a header field that holds a list.
func listOf(values []string) []string {
	var list []string
	for _, v := range values {
		for item := range strings.SplitSeq(v, ",") {
			if item = strings.TrimSpace(item); item != "" {
				list = append(list, item)
			}
		}
	}
	return list
}

// extensionNames lists the names in Sec-WebSocket-Extensions values. A comma
// or semicolon in a quoted parameter could only add names that nobody offers.
func extensionNames(values []string) []string {
	list := listOf(values)
	for i, item := range list {
		name, _, _ := strings.Cut(item, ";")
		list[i] = strings.ToLower(strings.TrimSpace(name))
	}
	return list
}
