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
// over HTTP/1.1, RFC 8441 over HTTP/2, RFC 9220 over HTTP/3). A handshake that is
// wrong is a broken one and must not be forwarded in any form. An offer to upgrade
// to anything else is one that a server may ignore (RFC 9110 section 7.8): the
// request is a plain one, from which forgetOffer takes it.
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
	switch {
	case len(upgrades) == 0 && len(r.Header["Sec-Websocket-Key"]) > 0:
		return brokenHandshake, badHandshake(http.StatusBadRequest, "a Sec-WebSocket-Key without an Upgrade header")
	case len(upgrades) == 0 || !meansWebSocket(r.Header):
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

// meansWebSocket reports whether anything in the header of a request with Upgrade
// has to do with WebSocket, however wrongly.
func meansWebSocket(h http.Header) bool {
	for name, values := range h {
		switch {
		case strings.HasPrefix(fold(name), "sec-websocket-"):
			return true
		case name == "Upgrade" && strings.Contains(strings.ToLower(strings.Join(values, ",")), "websocket"):
			return true
		}
	}
	return false
}

// forgetOffer takes an offer to upgrade to something else from a plain request over
// HTTP/1, such as that of Java's HttpClient to speak HTTP/2, with what belongs to
// it: a proxy would pass it on.
func forgetOffer(h http.Header) {
	if h["Upgrade"] == nil && h["Http2-Settings"] == nil {
		return
	}
	delete(h, "Upgrade")
	delete(h, "Http2-Settings")
	options := slices.DeleteFunc(listOf(h["Connection"]), func(option string) bool {
		return strings.EqualFold(option, "upgrade") || strings.EqualFold(option, "http2-settings")
	})
	if len(options) == 0 {
		delete(h, "Connection")
		return
	}
	h["Connection"] = []string{strings.Join(options, ", ")}
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
	// The bits behind the last byte may be set: RFC 4648 section 3.5 leaves that
	// open, and RFC 6455 asks for no more than 16 bytes.
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(values[0]))
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

// dropEmptyOffer removes the fields of a handshake that offer nothing: an upstream
// might take an empty list for a wrong one.
func dropEmptyOffer(h http.Header) {
	for _, name := range []string{"Sec-Websocket-Protocol", "Sec-Websocket-Extensions"} {
		if h[name] != nil && len(listOf(h[name])) == 0 {
			delete(h, name)
		}
	}
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
