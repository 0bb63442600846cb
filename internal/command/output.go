package command

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func addOutputFlags(cmd *cobra.Command) {
	cmd.PersistentFlags().Bool("json", false, "Print what the admin endpoint answers, for scripts")
}

func wantsJSON(cmd *cobra.Command) bool {
	wanted, err := cmd.Flags().GetBool("json")
	return err == nil && wanted
}

// printJSON prints a document of the admin endpoint. What a terminal could take for a
// control character stands in texts alone, and is escaped there, which leaves the
// document the same.
func printJSON(cmd *cobra.Command, document json.RawMessage) {
	var out strings.Builder
	for rest := []byte(document); len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		switch {
		case r < ' ' || strconv.IsPrint(r) && size > 0 && (r != utf8.RuneError || size > 1):
			out.Write(rest[:size])
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
		rest = rest[size:]
	}
	fmt.Fprintln(cmd.OutOrStdout(), out.String())
}

// joinJSON makes an array of its elements.
func joinJSON(elements []json.RawMessage) json.RawMessage {
	document := json.RawMessage{'['}
	for i, element := range elements {
		if i > 0 {
			document = append(document, ',')
		}
		document = append(document, element...)
	}
	return append(document, ']')
}

// escaped is a text for people, in one line and without anything that a terminal
// would act upon.
func escaped(text string) string {
	if isPrintable(text) {
		return text
	}
	quoted := strconv.Quote(text)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

func isPrintable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) })
}

// cell is a text for a table, quoted where it could be mistaken for something else.
func cell(text string) string {
	if text == "" {
		return "-"
	}
	if !isPrintable(text) || strings.TrimSpace(text) != text || text == "-" || text[0] == '"' {
		return strconv.Quote(text)
	}
	return text
}

// column is a column of a table. One that is free may hold a text of any length, and
// is cut where the terminal is too narrow.
type column struct {
	title string
	free  bool
}

const (
	columnGap     = 2
	leastCutWidth = 8 // which a column keeps, however narrow the terminal

	// How much of a free column is worth another column: an address with its port.
	worthyWidth = 21
)

// printTable prints rows below the titles of the columns that have anything in them.
// A text of a row is escaped.
func printTable(cmd *cobra.Command, columns []column, rows [][]string) {
	printWideTable(cmd, len(columns), columns, rows)
}

// printWideTable is printTable for more columns than most terminals have room for:
// those beyond the kept ones are left out where they do not fit, the last first.
func printWideTable(cmd *cobra.Command, kept int, columns []column, rows [][]string) {
	columns, rows = usedColumns(columns, rows)
	out := cmd.OutOrStdout()
	limit := terminalWidth(out)
	columns, lines := fitColumns(limit, min(kept, len(columns)), columns, tableLines(columns, rows))
	writeLines(out, lines, widthsFor(limit, columns, lines))
}

// usedColumns leaves out the columns that have nothing in them.
func usedColumns(columns []column, rows [][]string) (used []column, cut [][]string) {
	cut = make([][]string, len(rows))
	for i, column := range columns {
		if !slices.ContainsFunc(rows, func(row []string) bool { return row[i] != "" }) {
			continue
		}
		used = append(used, column)
		for n, row := range rows {
			cut[n] = append(cut[n], row[i])
		}
	}
	return used, cut
}

// tableLines makes the lines of a table, the titles first.
func tableLines(columns []column, rows [][]string) [][]string {
	titles := make([]string, 0, len(columns))
	for _, column := range columns {
		titles = append(titles, column.title)
	}
	lines := make([][]string, 0, len(rows)+1)
	lines = append(lines, titles)
	for _, row := range rows {
		line := make([]string, 0, len(row))
		for _, text := range row {
			line = append(line, cell(text))
		}
		lines = append(lines, line)
	}
	return lines
}

// printMembers prints a line for each pair of a name and a text, which is escaped.
func printMembers(cmd *cobra.Command, members [][2]string) {
	lines := make([][]string, 0, len(members))
	for _, member := range members {
		lines = append(lines, []string{member[0], cell(member[1])})
	}
	writeLines(cmd.OutOrStdout(), lines, widthsFor(0, make([]column, 2), lines))
}

// isTerminal reports whether a stream of the command is a terminal.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// terminalWidth is how many characters fit into a line of the terminal that is
// written to, or zero where that is none.
func terminalWidth(out io.Writer) int {
	file, ok := out.(*os.File)
	if !ok || !isTerminal(out) {
		return 0
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// widthsFor finds how wide columns are: as their longest cell, but where a line is
// longer than the limit, the widest of those that are free is cut as far as it takes.
func widthsFor(limit int, columns []column, lines [][]string) []int {
	widths := make([]int, len(columns))
	total := columnGap * (len(columns) - 1)
	for i := range columns {
		for _, line := range lines {
			widths[i] = max(widths[i], utf8.RuneCountInString(line[i]))
		}
		total += widths[i]
	}
	for ; limit > 0 && total > limit; total-- {
		widest := -1
		for i, column := range columns {
			if column.free && widths[i] > leastCutWidth && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return widths
}

// fitColumns leaves out the columns beyond the kept ones for which a line has no room,
// the last first.
func fitColumns(limit, kept int, columns []column, lines [][]string) ([]column, [][]string) {
	if limit == 0 {
		return columns, lines
	}
	widths := widthsFor(0, columns, lines)
	fitting, total := 0, -columnGap
	for i, column := range columns {
		width := widths[i]
		if column.free {
			width = min(width, worthyWidth)
		}
		if total += columnGap + width; i >= kept && total > limit {
			break
		}
		fitting++
	}
	cut := make([][]string, 0, len(lines))
	for _, line := range lines {
		cut = append(cut, line[:fitting])
	}
	return columns[:fitting], cut
}

func writeLines(out io.Writer, lines [][]string, widths []int) {
	var text strings.Builder
	for _, line := range lines {
		text.WriteString(joinCells(line, widths))
		text.WriteByte('\n')
	}
	_, _ = io.WriteString(out, text.String())
}

func joinCells(line []string, widths []int) string {
	var text strings.Builder
	for i, cell := range line {
		cell, length := cutCell(cell, widths[i])
		text.WriteString(cell)
		if i < len(line)-1 {
			text.WriteString(strings.Repeat(" ", widths[i]-length+columnGap))
		}
	}
	return text.String()
}

// cutCell shortens a cell to a width, and returns how many characters it has then.
func cutCell(cell string, width int) (string, int) {
	length := utf8.RuneCountInString(cell)
	if length <= width {
		return cell, length
	}
	return string([]rune(cell)[:width-1]) + "…", width
}

// counted is a number with the noun for it.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
