package stream

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// pieces are what event streams are made of.
var pieces = []string{
	"data: x", "data:", "data", "event: tick", "id: 7", "id", "retry: 100", ": comment", ":", "unknown: é€😀", "\uFEFF", " ", "data: :",
}

// lineEnds are those that a stream may have.
var lineEnds = []string{"\n", "\r", "\r\n"}

// randomStream makes a stream of lines, with one line end for most of them.
func randomStream(rng *rand.Rand, lines int) []byte {
	var b bytes.Buffer
	if rng.IntN(4) == 0 {
		b.WriteString("\uFEFF")
	}
	most := lineEnds[rng.IntN(len(lineEnds))]
	for range lines {
		switch rng.IntN(8) {
		case 0, 1, 2:
		case 3:
			b.WriteString("data: " + strings.Repeat("y", rng.IntN(60)))
		default:
			b.WriteString(pieces[rng.IntN(len(pieces))])
		}
		if rng.IntN(10) == 0 {
			b.WriteString(lineEnds[rng.IntN(len(lineEnds))])
			continue
		}
		b.WriteString(most)
	}
	return b.Bytes()
}

// checkEvents fails the test unless the stream is read as its client reads it, however it
// is split.
func checkEvents(t *testing.T, text []byte, split func(left int) int) {
	t.Helper()
	var e events
	for passed := 0; passed < len(text); {
		n := split(len(text) - passed)
		e.read(text[passed : passed+n])
		passed += n
		seen, rest := text[:passed], text[passed:]
		p := parse(seen)
		if e.count != uint64(len(p.events)) {
			t.Fatalf("%q: %d events, want %d", seen, e.count, len(p.events))
		}
		if e.between() && (p.torn || isTorn(seen, rest)) {
			t.Fatalf("%q: is taken for whole", seen)
		}
		if !e.between() && !p.torn && !bytes.HasSuffix(seen, []byte("\r")) {
			t.Fatalf("%q: is taken for torn", seen)
		}
	}
	var whole events
	whole.read(text)
	if whole.count != e.count || whole.between() != e.between() {
		t.Fatalf("%q: %d events, in one piece %d", text, e.count, whole.count)
	}
}

// checkEnd fails the test unless an end that is due behind so many bytes comes at the
// first place where nothing is torn.
func checkEnd(t *testing.T, text []byte, due int, split func(left int) int) {
	t.Helper()
	var e events
	e.read(text[:due])
	if e.between() {
		return
	}
	passed, ended := due, false
	for passed < len(text) && !ended {
		var n int
		n, ended = e.readToEnd(text[passed : passed+split(len(text)-passed)])
		passed += n
	}
	got := parse(text[:passed])
	switch {
	case ended && (got.torn || isTorn(text[:passed], text[passed:])):
		t.Fatalf("%q, due behind %d: torn behind %q", text, due, text[:passed])
	case e.count != uint64(len(got.events)):
		t.Fatalf("%q: %d events have passed, want %d", text[:passed], e.count, len(got.events))
	}
	if missed := len(got.events) - len(parse(text[:due]).events); missed > 1 && !isUnsure(text) {
		t.Fatalf("%q, due behind %d: went on over %d events", text, due, missed)
	}
}

func TestEventsAreSeenAsTheirClientsSeeThem(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		text := randomStream(rng, 1+rng.IntN(20))
		most := 1 + rng.IntN(40)
		split := func(left int) int { return min(left, 1+rng.IntN(most)) }
		checkEvents(t, text, split)
		checkEnd(t, text, rng.IntN(len(text)+1), split)
	}
}

func FuzzEvents(f *testing.F) {
	for _, text := range []string{
		"data: 1\n\ndata: 2\n\n", "data: 1\r\n\r\n: x\r\n\r\ndata: 2\r\n\r\n", "data\rdata\r\rid: 1\r\r", "\uFEFFdata: x\n\n",
		"\xEF\xBBdata\n\n", "\xEF\n\ndata\n\n", ":\n\n:\n\n", "\n\n\n", "\r\n\r\n\r\n", "data: 1\r\n\r\r\n\ndata\n\n", "a", "\r", "data: x\n\r\ny\n\r",
	} {
		f.Add([]byte(text), uint16(3), uint8(1))
	}
	f.Fuzz(func(t *testing.T, text []byte, due uint16, piece uint8) {
		text = text[:min(len(text), 4<<10)] // which the parser reads again for each piece
		split := func(left int) int { return min(left, 1+int(piece)) }
		checkEvents(t, text, split)
		checkEnd(t, text, min(int(due), len(text)), split)
	})
}

func TestABoundaryIsWhereABlankLineHasEnded(t *testing.T) {
	for text, between := range map[string]bool{
		"":                     true,
		"data: x":              false,
		"data: x\n":            false,
		"data: x\n\n":          true,
		"data: x\n\n:":         false,
		"data: x\n\n: c\n":     true,
		": c\ndata: x\n":       false,
		"data: x\r\r":          true,
		"data: x\r\n\r":        false, // its line feed is to come
		"data: x\r\n\r\n":      true,
		"data: x\n\r":          true,
		"id\n\n":               true,
		"\xEF":                 false,
		"\xEF\xBB":             false,
		"\uFEFF":               true,
		"\uFEFFdata: x\n":      false,
		"\uFEFF\n":             true,
		"\xEF\xBBx\n":          false,
		"\n":                   true,
		"data: x\n\ndata: y\n": false,
	} {
		for i := range len(text) + 1 {
			var e events
			e.read([]byte(text[:i]))
			e.read([]byte(text[i:]))
			if e.between() != between {
				t.Errorf("%q, split at %d: between is %t", text, i, e.between())
			}
		}
	}
}

func TestALineFeedBehindABoundaryBelongsToIt(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		before, piece string
		passed        int // of the piece
	}{
		{"data: x\n", "\r\ndata", 2},
		{"data: x", "\r\n\r\ndata", 4},
		{"data: x\r\n\r", "\ndata", 1},
		{"data: x\r", "\rdata", 1},
		{"data: x\r", "\r\rdata", 1},
		{"data: x\n", "\n\ndata", 1},
		{": comm", "ent\r\ndata", 5},
		{"data: x\n", "\r", 1},
	} {
		var e events
		e.read([]byte(row.before))
		if n, ended := e.readToEnd([]byte(row.piece)); n != row.passed || !ended {
			t.Errorf("%q of %q behind %q: %t, want %q", row.piece[:n], row.piece, row.before, ended, row.piece[:row.passed])
		}
	}
}

func TestLinesOfAnyLengthAreSeenToEnd(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("x", 10*leastWindow)
	for length := range len(text) {
		for _, end := range lineEnds {
			for _, behind := range []string{"", "\r", "\n", "yy\nyy\ryy"} {
				if got := restOfLine([]byte(text[:length] + end + behind)); got != length {
					t.Fatalf("a line of %d bytes before %q is taken to have %d", length, end+behind, got)
				}
			}
		}
		if got := restOfLine([]byte(text[:length])); got != length {
			t.Fatalf("%d bytes without an end are taken for %d", length, got)
		}
	}
}

// BenchmarkEvents reads what fits into a buffer of reverse_proxy, and longer lines.
func BenchmarkEvents(b *testing.B) {
	for _, end := range lineEnds {
		for _, size := range []int{16, 64, 4 << 10, 1 << 20} {
			event := "data: " + strings.Repeat("x", size-6-2*len(end)) + end + end
			text := []byte(strings.Repeat(event, max(1, 32<<10/size)))
			b.Run(fmt.Sprintf("end=%q/size=%d", end, size), func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				var e events
				for b.Loop() {
					e.read(text)
				}
			})
		}
	}
}
