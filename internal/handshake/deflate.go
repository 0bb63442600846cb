package handshake

import (
	"net/http"
	"strconv"
	"strings"
)

// Deflate is what a side has agreed on with the gateway for permessage-deflate (RFC 7692,
// section 7.1). The gateway always compresses without what went before.
type Deflate struct {
	Agreed   bool
	Bits     int  // of the window that the side has for what the gateway sends, 8 to 15
	Takeover bool // what the side sends may refer to what it has sent before
}

// deflateOffer is what the gateway offers an upstream where it speaks for itself.
const deflateOffer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

// OfferDeflate replaces what a client offers by what the gateway does.
func OfferDeflate(h http.Header) { h[extensionsField] = []string{deflateOffer} }

const (
	extensionsField  = "Sec-Websocket-Extensions"
	noClientTakeover = "client_no_context_takeover"
	noServerTakeover = "server_no_context_takeover"
	clientBits       = "client_max_window_bits"
	serverBits       = "server_max_window_bits"
)

// AcceptDeflate answers the offers of a client: by the first that can be accepted, without
// context takeover in either direction. answer is empty where there is none.
func AcceptDeflate(offered http.Header) (answer string, agreed Deflate) {
	for _, offer := range ListOf(offered[extensionsField]) {
		params, ok := deflateParams(offer)
		if !ok {
			continue
		}
		agreed, ok = accept(params)
		if !ok {
			continue
		}
		answer = deflateOffer
		if agreed.Bits < 15 {
			answer += "; " + serverBits + "=" + strconv.Itoa(agreed.Bits)
		}
		return answer, agreed
	}
	return "", Deflate{}
}

// SetExtensions makes the answer accept what AcceptDeflate has returned.
func SetExtensions(answer http.Header, accepted string) {
	delete(answer, extensionsField)
	if accepted != "" {
		answer[extensionsField] = []string{accepted}
	}
}

// accept reports whether an offer with these parameters is right (RFC 7692, section 7.1),
// and what comes of it.
func accept(params map[string]string) (agreed Deflate, ok bool) {
	agreed = Deflate{Agreed: true, Bits: 15}
	for name, value := range params {
		switch name {
		case noClientTakeover, noServerTakeover:
			ok = value == ""
		case clientBits:
			_, ok = windowBits(value)
			ok = ok || value == ""
		case serverBits:
			agreed.Bits, ok = windowBits(value)
		default:
			ok = false
		}
		if !ok {
			return Deflate{}, false
		}
	}
	return agreed, true
}

// AgreedDeflate returns what an upstream has made of what OfferDeflate offers. It fails
// where the upstream has accepted something else.
func AgreedDeflate(answer http.Header) (agreed Deflate, ok bool) {
	extensions := ListOf(answer[extensionsField])
	if len(extensions) == 0 {
		return Deflate{}, true
	}
	params, ok := deflateParams(extensions[0])
	if !ok || len(extensions) > 1 {
		return Deflate{}, false
	}
	agreed = Deflate{Agreed: true, Bits: 15, Takeover: true}
	for name, value := range params {
		switch name {
		case noClientTakeover:
			ok = value == ""
		case noServerTakeover:
			agreed.Takeover, ok = false, value == ""
		case serverBits: // a smaller window of the upstream's makes no difference here
			_, ok = windowBits(value)
		default: // client_max_window_bits among them, which was not offered
			ok = false
		}
		if !ok {
			return Deflate{}, false
		}
	}
	return agreed, true
}

// deflateParams returns the parameters of an element of Sec-WebSocket-Extensions, if it is
// of permessage-deflate and each is there once.
func deflateParams(element string) (params map[string]string, ok bool) {
	name, rest, more := strings.Cut(element, ";")
	if !strings.EqualFold(strings.TrimSpace(name), "permessage-deflate") {
		return nil, false
	}
	params = make(map[string]string)
	for more {
		var param string
		param, rest, more = strings.Cut(rest, ";")
		key, value, has := strings.Cut(strings.TrimSpace(param), "=")
		key, value = strings.ToLower(strings.TrimSpace(key)), unquoted(strings.TrimSpace(value))
		if _, twice := params[key]; twice || key == "" || has && value == "" {
			return nil, false
		}
		params[key] = value
	}
	return params, true
}

// unquoted returns what a value means that may be a quoted string. A token needs no
// escapes, and what is not well quoted is no value that is known.
func unquoted(value string) string {
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		return value[1 : len(value)-1]
	}
	return value
}

func windowBits(value string) (bits int, ok bool) {
	bits, err := strconv.Atoi(value)
	return bits, err == nil && bits >= 8 && bits <= 15 && strconv.Itoa(bits) == value
}
