package handshake

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// AppendHead writes the head of the gateway's own handshake (RFC 6455 section 4.1).
// A text that could end a line early is an error.
func AppendHead(b []byte, r *http.Request, key string) ([]byte, error) {
	uri := r.URL.RequestURI()
	if strings.ContainsFunc(uri, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		return nil, fmt.Errorf("%w: its URI has a character that HTTP does not allow", ErrUnsendable)
	}
	if !httpguts.ValidHostHeader(r.Host) {
		return nil, fmt.Errorf("%w: its Host has a character that HTTP does not allow", ErrUnsendable)
	}
	b = append(b, "GET "...)
	b = append(b, uri...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, r.Host...)
	b = append(b, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "...)
	b = append(b, key...)
	b = append(b, "\r\n"...)
	for name, values := range r.Header {
		if name == "Host" || isHopByHop(name) {
			continue
		}
		wire := name
		switch name {
		case "Sec-Websocket-Protocol":
			wire = "Sec-WebSocket-Protocol"
		case "Sec-Websocket-Extensions":
			wire = "Sec-WebSocket-Extensions"
		}
		if !httpguts.ValidHeaderFieldName(wire) {
			return nil, fmt.Errorf("%w: header field %s has a bad name", ErrUnsendable, strconv.Quote(name))
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return nil, fmt.Errorf("%w: header field %s has a value that HTTP does not allow", ErrUnsendable, name)
			}
			b = append(b, wire...)
			b = append(b, ": "...)
			b = append(b, value...)
			b = append(b, "\r\n"...)
		}
	}
	return append(b, "\r\n"...), nil
}
