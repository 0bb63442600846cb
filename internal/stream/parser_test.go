package stream

import "strings"

// parser is a client that takes an event stream apart byte by byte, as the HTML standard
// says (section 9.2.6), and waits for the line feed behind a carriage return as far as it
// may be one of a pair, as many clients do.
type parser struct {
	seen   []byte
	line   []byte
	cr     bool // the last byte was one
	blocks int  // blocks with a field that a blank line has ended
	fields int  // of the block so far
}

func (p *parser) feed(text []byte) {
	for _, c := range text {
		p.seen = append(p.seen, c)
		if string(p.seen) == "\uFEFF" {
			p.line = nil
			continue
		}
		wasCR := p.cr
		p.cr = c == '\r'
		switch {
		case c == '\n' && wasCR:
		case c == '\n' || c == '\r':
			p.endLine()
		default:
			p.line = append(p.line, c)
		}
	}
}

func (p *parser) endLine() {
	line := string(p.line)
	p.line = nil
	switch {
	case line == "":
		if p.fields > 0 {
			p.blocks++
		}
		p.fields = 0
	case !strings.HasPrefix(line, ":"):
		p.fields++
	}
}

// between reports whether a client that sees the stream end here has lost nothing.
func (p *parser) between() bool {
	return len(p.line) == 0 && p.fields == 0
}

// isTorn reports whether the stream has stopped between the two bytes that its lines end
// by, where a client that waits for the second would miss the event.
func isTorn(seen, rest []byte) bool {
	return strings.HasSuffix(string(seen), "\r\n\r") && strings.HasPrefix(string(rest), "\n")
}
