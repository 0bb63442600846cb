// Package terminal draws on the whole of a terminal and reads its keys. It knows the
// sequences that every terminal of today has, and nothing of what is shown.
package terminal

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/term"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

const (
	// The alternate screen, without a cursor and without lines that go on in the next.
	enter = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
	leave = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
)

// Style is how a line looks.
type Style string

// Styles of lines.
const (
	Plain   Style = ""
	Bold    Style = "\x1b[1m"
	Reverse Style = "\x1b[7m"
)

// Line is a line on the screen. Of its text, what is not printable is shown as a
// question mark.
type Line struct {
	Text  string
	Style Style
}

// Screen is a terminal that shows what is drawn, until it is closed.
type Screen struct {
	in, out *os.File
	saved   *term.State // of in; nil where that is no terminal, which has no keys
	keys    chan Key
	resized chan os.Signal
	closed  chan struct{}
	once    sync.Once

	drawn         []Line // what is on the screen of this size
	width, height int
}

// Open takes the terminal that out is, and reads keys from in where that is one too.
func Open(in, out *os.File) (*Screen, error) {
	s := &Screen{in: in, out: out, keys: make(chan Key), resized: make(chan os.Signal, 1), closed: make(chan struct{})}
	if term.IsTerminal(int(in.Fd())) {
		saved, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return nil, fmt.Errorf("reading keys: %w", err)
		}
		s.saved = saved
		go s.readKeys()
	}
	notifyResize(s.resized)
	if _, err := out.WriteString(enter); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close gives the terminal back as it was. Closing twice does nothing.
func (s *Screen) Close() {
	s.once.Do(func() {
		close(s.closed)
		stopResize(s.resized)
		_, _ = s.out.WriteString(leave)
		if s.saved != nil {
			_ = term.Restore(int(s.in.Fd()), s.saved)
		}
	})
}

// Keys returns the keys that are pressed. It is closed when the terminal is gone.
func (s *Screen) Keys() <-chan Key { return s.keys }

// Resized receives when the size of the terminal has changed, where there is a signal
// for it.
func (s *Screen) Resized() <-chan os.Signal { return s.resized }

// Size is how many characters fit into a line, and how many lines into the screen.
func (s *Screen) Size() (width, height int) {
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return 80, 24
	}
	return width, height
}

// Draw shows the lines, from the top, and nothing else. What does not fit is cut.
func (s *Screen) Draw(lines []Line) error {
	width, height := s.Size()
	var out bytes.Buffer
	if width != s.width || height != s.height {
		s.width, s.height, s.drawn = width, height, nil
		out.WriteString("\x1b[0m\x1b[2J")
	}
	shown := make([]Line, height)
	for i := range shown {
		if i < len(lines) {
			shown[i] = Line{clean(lines[i].Text, width), lines[i].Style}
		}
		if s.drawn != nil && s.drawn[i] == shown[i] || s.drawn == nil && shown[i] == (Line{}) {
			continue
		}
		fmt.Fprintf(&out, "\x1b[%d;1H\x1b[K%s%s", i+1, shown[i].Style, shown[i].Text)
		if shown[i].Style != Plain {
			out.WriteString("\x1b[0m")
		}
	}
	s.drawn = shown
	if out.Len() == 0 {
		return nil
	}
	_, err := s.out.Write(out.Bytes())
	return err
}

// clean cuts a text to a width, and takes out what a terminal would act upon.
func clean(text string, width int) string {
	characters := make([]rune, 0, min(len(text), width))
	for _, character := range text {
		if len(characters) == width {
			break
		}
		if !strconv.IsPrint(character) {
			character = '?'
		}
		characters = append(characters, character)
	}
	return string(characters)
}

// readKeys ends with the terminal. A read that waits cannot be interrupted, and may
// outlive the Screen.
func (s *Screen) readKeys() {
	defer close(s.keys)
	defer panics.Contain()
	var rest []byte
	buffer := make([]byte, 256)
	for {
		n, err := s.in.Read(buffer)
		if err != nil {
			return
		}
		var keys []Key
		keys, rest = Decode(append(rest, buffer[:n]...))
		for _, key := range keys {
			select {
			case s.keys <- key:
			case <-s.closed:
				return
			}
		}
	}
}
