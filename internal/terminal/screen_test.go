package terminal

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// openFile opens a Screen on a file, which has the size of a terminal that does not say
// its own, and no keys.
func openFile(t *testing.T) (*Screen, func() string) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "screen"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	screen, err := Open(file, file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(screen.Close)
	seen := 0
	return screen, func() string {
		written, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		fresh := string(written[seen:])
		seen = len(written)
		return fresh
	}
}

func TestScreenDrawsWhatHasChanged(t *testing.T) {
	t.Parallel()
	screen, written := openFile(t)
	if got := written(); got != enter {
		t.Errorf("at first it is %q", got)
	}
	rows := []struct {
		lines []Line
		want  string
	}{
		{[]Line{{Text: "a"}, {}, {"b", Bold}}, "\x1b[0m\x1b[2J\x1b[1;1H\x1b[Ka\x1b[3;1H\x1b[K\x1b[1mb\x1b[0m"},
		{[]Line{{Text: "a"}, {}, {"b", Bold}}, ""},
		{[]Line{{Text: "a"}, {Text: "c"}, {"b", Reverse}}, "\x1b[2;1H\x1b[Kc\x1b[3;1H\x1b[K\x1b[7mb\x1b[0m"},
		{[]Line{{Text: "a"}}, "\x1b[2;1H\x1b[K\x1b[3;1H\x1b[K"},
		{[]Line{{Text: "\x1b]0;x\a\u009b\xff é"}}, "\x1b[1;1H\x1b[K?]0;x??\ufffd é"},
		{[]Line{{Text: strings.Repeat("é", 100)}}, "\x1b[1;1H\x1b[K" + strings.Repeat("é", 80)},
		{append(make([]Line, 24), Line{Text: "below"}), "\x1b[1;1H\x1b[K"},
	}
	for _, row := range rows {
		if err := screen.Draw(row.lines); err != nil {
			t.Fatal(err)
		}
		if got := written(); got != row.want {
			t.Errorf("%v is drawn as %q and should be as %q", row.lines, got, row.want)
		}
	}
	screen.Close()
	screen.Close()
	if got := written(); got != leave {
		t.Errorf("at the end it is %q", got)
	}
	if err := screen.out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := screen.Draw([]Line{{Text: "x"}}); err == nil {
		t.Error("a terminal that is gone is no error")
	}
}

func TestScreenThatCannotBeWrittenToIsNotOpened(t *testing.T) {
	t.Parallel()
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	defer in.Close()
	if _, err := Open(out, in); err == nil { // the end that can only be read
		t.Error("it was opened")
	}
	if _, err := out.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(in, make([]byte, 1)); err != nil {
		t.Error("the pipe is not as it was:", err)
	}
}
