package stream

import "bytes"

// events reads an event stream as it goes by (HTML, section 9.2.6), in pieces of any size.
// It knows where events end, and takes nothing apart beyond that.
type events struct {
	count uint64 // of events that have ended

	inLine   bool // the line has a first byte
	comment  bool // and that is a colon
	fields   bool // the block has a line that is none of these
	cr       bool // the last byte was a carriage return, whose line feed may follow
	awaitsLF bool // and ended a blank line where lines end by both
	both     bool // the line before ended by both
	mark     int8 // how much of a byte order mark was seen; less than 0 once there can be none
}

// byteOrderMark may stand at the beginning, and is no part of the first line.
const byteOrderMark = "\uFEFF"

// between reports whether what was read ends between two events.
func (e *events) between() bool { return !e.inLine && !e.fields && !e.awaitsLF && e.mark <= 0 }

// read reads p.
func (e *events) read(p []byte) {
	for i := 0; i < len(p); {
		i += e.step(p[i:])
	}
}

// readToEnd reads p as far as an event ends, or what stands between two, and returns how
// far that is. It is false where nothing ends.
func (e *events) readToEnd(p []byte) (n int, ended bool) {
	for n < len(p) {
		n += e.step(p[n:])
		if n == 0 || !e.between() {
			continue
		}
		if e.cr && n < len(p) && p[n] == '\n' { // which belongs to the blank line
			n += e.step(p[n:])
		}
		return n, true
	}
	return n, false
}

// step reads the next bytes of p that belong together, and returns how many these are.
func (e *events) step(p []byte) int {
	if e.mark >= 0 {
		return e.readMark(p)
	}
	c := p[0]
	if e.cr && c == '\n' {
		e.cr, e.awaitsLF, e.both = false, false, true
		return 1
	}
	e.awaitsLF = false
	switch {
	case c == '\n' || c == '\r':
		e.endLine(c)
		return 1
	case !e.inLine:
		e.inLine, e.comment, e.cr = true, c == ':', false
		e.fields = e.fields || !e.comment
	}
	return restOfLine(p)
}

// readMark reads the beginning of the stream.
func (e *events) readMark(p []byte) int {
	if p[0] == byteOrderMark[e.mark] {
		if e.mark++; int(e.mark) == len(byteOrderMark) {
			e.mark = -1
		}
		return 1
	}
	if e.mark > 0 { // it was none, but the beginning of a line
		e.inLine, e.fields = true, true
	}
	e.mark = -1
	return 0
}

func (e *events) endLine(c byte) {
	blank := !e.inLine
	wasBoth := e.both
	e.inLine, e.cr, e.both = false, c == '\r', false
	if !blank {
		return
	}
	if e.fields {
		e.count++
		e.fields = false
	}
	e.awaitsLF = e.cr && wasBoth
}

// leastWindow is how far is looked for the end of a line at first.
const leastWindow = 128

// restOfLine returns how many bytes there are until the line ends. It looks for both ends
// in windows that grow: where all lines end by one of the two, looking for the other would
// go over everything behind them again for each line.
func restOfLine(p []byte) int {
	for from, size := 0, leastWindow; from < len(p); from, size = from+size, 2*size {
		window := p[from:min(from+size, len(p))]
		end := bytes.IndexByte(window, '\n')
		if end >= 0 {
			window = window[:end]
		}
		if i := bytes.IndexByte(window, '\r'); i >= 0 {
			end = i
		}
		if end >= 0 {
			return from + end
		}
	}
	return len(p)
}
