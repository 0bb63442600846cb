package handshake

import (
	"bytes"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// switched reads until the buffer holds a whole head, and returns the response if it
// is a 101 in the usual form. Otherwise it returns nil and has taken nothing from the
// buffer.
func (a *answerReader) switched(r *http.Request) *http.Response {
	for {
		head, _ := a.buffered.Peek(a.buffered.Buffered())
		if end := bytes.Index(head, []byte("\r\n\r\n")); end >= 0 {
			res := parseSwitching(string(head[:end+2]), r)
			if res != nil {
				_, _ = a.buffered.Discard(end + 4)
			}
			return res
		}
		if len(head) == a.buffered.Size() {
			return nil
		}
		if _, err := a.buffered.Peek(len(head) + 1); err != nil {
			return nil
		}
	}
}

// parseSwitching parses the head of a 101, down to the end of its last line. It
// returns nil where the head is not plain enough to be sure that net/http would parse
// it in the same way.
func parseSwitching(head string, r *http.Request) *http.Response {
	status, lines, _ := strings.Cut(head, "\r\n")
	status, ok := strings.CutPrefix(status, "HTTP/1.1 ")
	if !ok || !strings.HasPrefix(status, "101 ") || !httpguts.ValidHeaderFieldValue(status) {
		return nil
	}
	fields := make(http.Header, 8)
	values := make([]string, 0, 8)
	for lines != "" {
		var line string
		line, lines, _ = strings.Cut(lines, "\r\n")
		name, value, ok := strings.Cut(line, ":")
		if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil
		}
		value = textproto.TrimString(value)
		switch name = canonicalName(name); name {
		case "Content-Length", "Transfer-Encoding", "Trailer", "Pragma":
			return nil // net/http makes something of them
		case "Connection":
			if !strings.EqualFold(value, "upgrade") {
				return nil // and of "close"
			}
		}
		if prior := fields[name]; prior != nil {
			fields[name] = append(prior, value)
			continue
		}
		values = append(values, value)
		fields[name] = slices.Clip(values[len(values)-1:])
	}
	return &http.Response{
		Status: status, StatusCode: http.StatusSwitchingProtocols,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: fields, Body: http.NoBody, Request: r,
	}
}

// canonicalName is http.CanonicalHeaderKey, which makes a copy of the names
// that RFC 6455 writes in its own way.
func canonicalName(name string) string {
	switch name {
	case "Sec-WebSocket-Accept":
		return "Sec-Websocket-Accept"
	case "Sec-WebSocket-Protocol":
		return "Sec-Websocket-Protocol"
	case "Sec-WebSocket-Extensions":
		return "Sec-Websocket-Extensions"
	}
	return http.CanonicalHeaderKey(name)
}
