// Package handshake is how a WebSocket comes about: by a handshake of the client
// (RFC 6455 over HTTP/1.1, RFC 8441 over HTTP/2, RFC 9220 over HTTP/3), and by one
// of the gateway's own with an upstream, over HTTP/1.1.
//
// Of a client's request the package decides whether it is a handshake, and a sound
// one, and removes the fields that concern the client's connection only. With an
// upstream it exchanges the head of a handshake that was rebuilt for the upstream and
// an answer, and verifies the answer.
package handshake

import (
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Kind is the kind of a request.
type Kind uint8

// The kinds of requests.
const (
	Plain     Kind = iota // HTTP that has nothing to do with WebSocket
	Sound                 // a handshake that may be forwarded
	Broken                // a handshake that is wrong, and must not be forwarded in any form
	Malformed             // neither a handshake nor anything else that HTTP allows
)

// Fault is a fault of a request, and the status of the answer that says so. The zero
// value is no fault.
type Fault struct {
	Status int
	Reason string
}

// Classify tells plain HTTP from a WebSocket handshake (RFC 6455 section 4.2.1
// over HTTP/1.1, RFC 8441 over HTTP/2, RFC 9220 over HTTP/3). A handshake that is
// wrong is a broken one and must not be forwarded in any form. A request that offers
// to upgrade to another protocol is a plain one, because a server may ignore the offer
// (RFC 9110 section 7.8); ForgetOffer removes it.
func Classify(r *http.Request) (Kind, Fault) {
	if r.ProtoMajor >= 2 {
		what, fault := classifyExtendedConnect(r)
		if what == Sound && r.TLS != nil && !r.TLS.HandshakeComplete {
			// RFC 8470: early data may be a replay.
			return Broken, Fault{http.StatusTooEarly, "a handshake in TLS early data"}
		}
		return what, fault
	}
	if r.Method == http.MethodConnect {
		return Broken, Fault{http.StatusMethodNotAllowed, "CONNECT is not served here"}
	}
	upgrades := r.Header["Upgrade"]
	switch {
	case len(upgrades) == 0 && len(r.Header["Sec-Websocket-Key"]) > 0:
		return Broken, Fault{http.StatusBadRequest, "a Sec-WebSocket-Key without an Upgrade header"}
	case len(upgrades) == 0 || !meansWebSocket(r.Header):
		return Plain, Fault{}
	}
	if len(upgrades) != 1 || !strings.EqualFold(strings.TrimSpace(upgrades[0]), "websocket") {
		return Broken, Fault{http.StatusBadRequest, "the only protocol to upgrade to is websocket"}
	}
	if !httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade") {
		return Broken, Fault{http.StatusBadRequest, "an Upgrade header that Connection does not name"}
	}
	if r.Method != http.MethodGet {
		return Broken, Fault{http.StatusMethodNotAllowed, "the method of a handshake is GET"}
	}
	if !r.ProtoAtLeast(1, 1) {
		return Broken, Fault{http.StatusBadRequest, "a handshake needs HTTP/1.1"}
	}
	if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		return Broken, Fault{http.StatusBadRequest, "a handshake has no body"}
	}
	if fault := checkVersion(r); fault.Status != 0 {
		return Broken, fault
	}
	if !validKey(r.Header["Sec-Websocket-Key"]) {
		return Broken, Fault{http.StatusBadRequest, "Sec-WebSocket-Key must be 16 bytes in base64, once"}
	}
	return Sound, Fault{}
}

// Opens reports whether r asks for a WebSocket and for nothing else: an
// Upgrade header that names further protocols is not a handshake.
func Opens(r *http.Request) bool {
	switch r.ProtoMajor {
	case 1:
		upgrade := r.Header["Upgrade"]
		return r.Method == http.MethodGet &&
			httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade") &&
			len(upgrade) == 1 && strings.EqualFold(strings.TrimSpace(upgrade[0]), "websocket")
	case 2: // the server passes the pseudo-header on among the headers
		return r.Method == http.MethodConnect && strings.EqualFold(r.Header.Get(":protocol"), "websocket")
	case 3: // quic-go puts the pseudo-header here
		return r.Method == http.MethodConnect && strings.EqualFold(r.Proto, "websocket")
	}
	return false
}

// meansWebSocket reports whether any field in the header of a request with Upgrade has
// to do with WebSocket, however malformed.
func meansWebSocket(h http.Header) bool {
	for name, values := range h {
		switch {
		case hasFoldedPrefix(name, "sec-websocket-"):
			return true
		case name == "Upgrade" && strings.Contains(strings.ToLower(strings.Join(values, ",")), "websocket"):
			return true
		}
	}
	return false
}

func classifyExtendedConnect(r *http.Request) (Kind, Fault) {
	if r.Method != http.MethodConnect {
		if len(r.Header[":protocol"]) > 0 || r.ProtoMajor == 3 && !strings.HasPrefix(r.Proto, "HTTP/") {
			return Malformed, Fault{http.StatusBadRequest, "a :protocol without CONNECT"} // RFC 8441 section 4
		}
		return Plain, Fault{}
	}
	protocol := r.Header.Get(":protocol")
	if r.ProtoMajor == 3 {
		protocol = r.Proto
	}
	switch {
	case Opens(r):
	case protocol == "" || strings.HasPrefix(protocol, "HTTP/"):
		return Broken, Fault{http.StatusMethodNotAllowed, "CONNECT is not served here"}
	default:
		return Broken, Fault{http.StatusBadRequest, "the only :protocol is websocket"}
	}
	if r.ContentLength > 0 {
		return Broken, Fault{http.StatusBadRequest, "a handshake has no body"}
	}
	if fault := checkVersion(r); fault.Status != 0 {
		return Broken, fault
	}
	return Sound, Fault{}
}

func checkVersion(r *http.Request) Fault {
	if v := r.Header["Sec-Websocket-Version"]; len(v) == 1 && strings.TrimSpace(v[0]) == "13" {
		return Fault{}
	}
	return Fault{http.StatusUpgradeRequired, "the version of the WebSocket protocol is 13"}
}
