package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal with a program on it, and what its screen shows.
type terminal struct {
	far, near *os.File // what a person has, and what the program has
	cmd       *exec.Cmd
	before    *unix.Termios
	ended     chan error
	changed   chan struct{}

	mu     sync.Mutex
	raw    bytes.Buffer // all that was written
	screen [][]rune
	row    int
	column int
	rest   []byte // of a sequence of which not all has come
}

// onTerminal starts the built Caddy on a terminal of its own.
func onTerminal(t *testing.T, columns, rows int, args ...string) *terminal {
	t.Helper()
	path, err := caddyBinary()
	if err != nil {
		t.Fatalf("building cmd/caddy: %v", err)
	}
	far, near := openTerminal(t)
	p := &terminal{far: far, near: near, ended: make(chan error, 1), changed: make(chan struct{}, 1)}
	p.resize(t, columns, rows)
	if p.before, err = unix.IoctlGetTermios(int(near.Fd()), unix.TCGETS); err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(path, args...) // #nosec G204 -- built above
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = near, near, near
	p.cmd.Env = append(os.Environ(), "TERM=xterm")
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	go func() { p.ended <- p.cmd.Wait() }()
	go p.read()
	return p
}

func openTerminal(t *testing.T) (far, near *os.File) {
	t.Helper()
	far, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("there are no pseudo-terminals here:", err)
	}
	t.Cleanup(func() { _ = far.Close() })
	if err := unix.IoctlSetPointerInt(int(far.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(far.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	near, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = near.Close() })
	return far, near
}

// resize changes the size, of which the program gets a signal.
func (p *terminal) resize(t *testing.T, columns, rows int) {
	t.Helper()
	p.mu.Lock()
	p.screen = make([][]rune, rows)
	for i := range p.screen {
		p.screen[i] = []rune(strings.Repeat(" ", columns))
	}
	p.mu.Unlock()
	if err := unix.IoctlSetWinsize(int(p.far.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(rows), Col: uint16(columns)}); err != nil {
		t.Fatal(err)
	}
}

func (p *terminal) press(t *testing.T, keys string) {
	t.Helper()
	if _, err := p.far.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// read takes what the program writes, until the terminal is closed.
func (p *terminal) read() {
	buffer := make([]byte, 4096)
	for {
		n, err := p.far.Read(buffer)
		if err != nil {
			return
		}
		p.mu.Lock()
		p.raw.Write(buffer[:n])
		p.rest = p.act(append(p.rest, buffer[:n]...))
		p.mu.Unlock()
		select {
		case p.changed <- struct{}{}:
		default:
		}
	}
}

// act does what a terminal does, and returns what is no whole sequence or character.
func (p *terminal) act(written []byte) []byte {
	for len(written) > 0 {
		if written[0] == 0x1b {
			end := bytes.IndexFunc(written, func(r rune) bool { return r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' })
			if end < 0 {
				return written
			}
			p.sequence(string(written[:end+1]))
			written = written[end+1:]
			continue
		}
		if !utf8.FullRune(written) {
			return written
		}
		character, size := utf8.DecodeRune(written)
		p.write(character)
		written = written[size:]
	}
	return nil
}

// sequence knows those that are used, and no others.
func (p *terminal) sequence(text string) {
	switch {
	case strings.HasSuffix(text, "H"):
		_, _ = fmt.Sscanf(text, "\x1b[%d;%dH", &p.row, &p.column)
		p.row, p.column = p.row-1, p.column-1
	case text == "\x1b[K":
		for i := p.column; p.row < len(p.screen) && i < len(p.screen[p.row]); i++ {
			p.screen[p.row][i] = ' '
		}
	case text == "\x1b[2J":
		for _, line := range p.screen {
			copy(line, []rune(strings.Repeat(" ", len(line))))
		}
	}
}

func (p *terminal) write(character rune) {
	switch {
	case character == '\r':
		p.column = 0
	case character == '\n':
		p.row++
	case p.row < len(p.screen) && p.column < len(p.screen[p.row]):
		p.screen[p.row][p.column] = character
		p.column++
	}
}

// lines are the lines of the screen.
func (p *terminal) lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	lines := make([]string, 0, len(p.screen))
	for _, line := range p.screen {
		lines = append(lines, strings.TrimRight(string(line), " "))
	}
	return lines
}

func (p *terminal) written() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.raw.String()
}

// see waits until the screen is as it should be.
func (p *terminal) see(t *testing.T, what string, is func(screen string) bool) {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for !is(strings.Join(p.lines(), "\n")) {
		select {
		case <-p.changed:
		case <-timer.C:
			t.Fatalf("the screen does not show %s:\n%s", what, strings.Join(p.lines(), "\n"))
		}
	}
}

func (p *terminal) seeText(t *testing.T, text string) {
	t.Helper()
	p.see(t, fmt.Sprintf("%q", text), func(screen string) bool { return strings.Contains(screen, text) })
}

// expectEnd waits for the end of the program and of what it has written, and looks
// whether the terminal is as it was.
func (p *terminal) expectEnd(t *testing.T, status int) {
	t.Helper()
	err := receive(t, "the end of the program", p.ended)
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	} else if got := p.cmd.ProcessState.ExitCode(); got != status {
		t.Errorf("the exit status is %d and should be %d: %v", got, status, exit)
	}
	after, err := unix.IoctlGetTermios(int(p.near.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if *after != *p.before {
		t.Errorf("the terminal is left as %+v and was %+v", after, p.before)
	}
	p.see(t, "that the screen was given back", func(string) bool {
		written := p.written()
		for _, mode := range []string{"\x1b[?1049", "\x1b[?25", "\x1b[?7"} { // the alternate screen, the cursor, going on in the next line
			on, off := "h", "l"
			if mode == "\x1b[?1049" {
				on, off = off, on
			}
			if !strings.Contains(written, mode+off) || strings.LastIndex(written, mode+on) < strings.LastIndex(written, mode+off) {
				return false
			}
		}
		return true
	})
}
