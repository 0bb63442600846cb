package stream

import (
	"bytes"
	"strings"
)

// event is what a client gets to see.
type event struct{ name, data, id string }

// parsed is what a client makes of an event stream that has ended.
type parsed struct {
	events []event // that were dispatched; those of blocks without data are empty
	torn   bool    // a field or a part of a line is lost
}

// parse takes a whole stream apart in the words of the HTML standard (sections 9.2.5 and
// 9.2.6): lines first, then fields, then events. It differs in one respect: a block without
// data counts, for its fields have come to the client as well.
func parse(stream []byte) (p parsed) {
	lines, rest := linesOf(bytes.TrimPrefix(stream, []byte("\uFEFF")))
	var data strings.Builder
	var name, id string
	fields := 0
	for _, line := range lines {
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if fields > 0 {
				p.events = append(p.events, event{name, strings.TrimSuffix(data.String(), "\n"), id})
			}
			data.Reset()
			name, fields = "", 0
			continue
		case line[0] == ':':
			continue
		case field == "event":
			name = value
		case field == "data":
			data.WriteString(value + "\n")
		case field == "id" && !strings.Contains(value, "\x00"):
			id = value
		}
		fields++
	}
	p.torn = fields > 0 || rest != ""
	return p
}

// linesOf splits a stream at CRLF, LF and CR. What no line end follows is the rest.
func linesOf(stream []byte) (lines []string, rest string) {
	text := string(stream)
	for {
		end := strings.IndexAny(text, "\r\n")
		if end < 0 {
			return lines, text
		}
		lines = append(lines, text[:end])
		width := 1
		if strings.HasPrefix(text[end:], "\r\n") {
			width = 2
		}
		text = text[end+width:]
	}
}

// isTorn reports whether the stream has stopped between the two bytes that its lines end
// by, where a client that waits for the second would miss the event.
func isTorn(seen, rest []byte) bool {
	return bytes.HasSuffix(seen, []byte("\r\n\r")) && bytes.HasPrefix(rest, []byte("\n"))
}

// isUnsure reports whether a stream has ends of lines of which nobody knows whether a line
// feed is to come.
func isUnsure(stream []byte) bool {
	return bytes.Count(stream, []byte("\r\n\r")) > bytes.Count(stream, []byte("\r\n\r\n"))
}
