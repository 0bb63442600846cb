package command

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

func TestTablesAreCutToTheTerminal(t *testing.T) {
	t.Parallel()
	columns := []column{{"ID", false}, {"USER", true}, {"REASON", true}}
	lines := [][]string{{"ID", "USER", "REASON"}, {"0123456789", "alice in wonderland", "she followed a rabbit, überall"}}
	rows := []struct {
		limit  int
		widths []int
	}{
		{0, []int{10, 19, 30}},
		{63, []int{10, 19, 30}},
		{62, []int{10, 19, 29}},
		{50, []int{10, 18, 18}},
		{40, []int{10, 13, 13}},
		{20, []int{10, 8, 8}},
		{1, []int{10, 8, 8}},
	}
	for _, row := range rows {
		widths := widthsFor(row.limit, columns, lines)
		if !slices.Equal(widths, row.widths) {
			t.Errorf("in %d characters, widths are %v and should be %v", row.limit, widths, row.widths)
		}
		var out bytes.Buffer
		writeLines(&out, lines, widths)
		for line := range bytes.Lines(out.Bytes()) {
			if n := utf8.RuneCount(bytes.TrimSpace(line)); row.limit > 29 && n > row.limit {
				t.Errorf("in %d characters, a line has %d: %s", row.limit, n, line)
			}
		}
	}
	var out bytes.Buffer
	writeLines(&out, lines, []int{10, 8, 8})
	if want := "ID          USER      REASON\n0123456789  alice i…  she fol…\n"; out.String() != want {
		t.Errorf("printed is\n%s\nand should be\n%s", out.String(), want)
	}
}

func TestControlCharactersAreEscaped(t *testing.T) {
	t.Parallel()
	rows := []struct{ text, inCell, inLine, inJSON string }{
		{"alice", "alice", "alice", `"alice"`},
		{"", "-", "", `""`},
		{"-", `"-"`, "-", `"-"`},
		{" a", `" a"`, " a", `" a"`},
		{`"a"`, `"\"a\""`, `"a"`, `"\"a\""`},
		{"a\tb", `"a\tb"`, `a\tb`, `"a\tb"`},
		{"\x1b[31m\"", `"\x1b[31m\""`, `\x1b[31m"`, `"\u001b[31m\""`},
		{"a\x7f\u009b", `"a\x7f\u009b"`, `a\x7f\u009b`, `"a\u007f\u009b"`},
		{"\u202e😀\U000e0041", `"\u202e😀\U000e0041"`, `\u202e😀\U000e0041`, `"\u202e😀\udb40\udc41"`},
	}
	for _, row := range rows {
		if got := cell(row.text); got != row.inCell {
			t.Errorf("%q is %s in a cell and should be %s", row.text, got, row.inCell)
		}
		if got := escaped(row.text); got != row.inLine {
			t.Errorf("%q is %s in a line and should be %s", row.text, got, row.inLine)
		}
		document, err := json.Marshal(row.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := printedJSON(document); got != row.inJSON+"\n" {
			t.Errorf("%q is %s in JSON and should be %s", row.text, got, row.inJSON)
		}
	}
	if got, want := printedJSON([]byte("[\n\t\"\x9b\"\n]")), "[\n\t\"\\ufffd\"\n]\n"; got != want {
		t.Errorf("what is no UTF-8 is %q in JSON and should be %q", got, want)
	}
}

func printedJSON(document []byte) string {
	var out bytes.Buffer
	cmd := new(cobra.Command)
	cmd.SetOut(&out)
	printJSON(cmd, document)
	return out.String()
}
