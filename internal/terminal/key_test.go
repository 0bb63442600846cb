package terminal

import (
	"slices"
	"testing"
)

func TestKeysAreDecoded(t *testing.T) {
	t.Parallel()
	rows := []struct {
		sent string
		keys []Key
		rest string
	}{
		{"", nil, ""},
		{"qK?/", []Key{'q', 'K', '?', '/'}, ""},
		{"é😀", []Key{'é', '😀'}, ""},
		{"\xc3", nil, "\xc3"},
		{"a\xf0\x9f", []Key{'a'}, "\xf0\x9f"},
		{"\xff\xffb", []Key{Unknown, Unknown, 'b'}, ""},
		{"\r\n\t\x7f\x08", []Key{Enter, Enter, Tab, Backspace, Backspace}, ""},
		{"\x03\x15\x10\x0e\x01", []Key{Interrupt, Clear, Up, Down, Unknown}, ""},
		{"\x1b", []Key{Escape}, ""},
		{"\x1b\x1b", []Key{Escape, Escape}, ""},
		{"\x1b[A\x1b[B\x1bOA\x1bOB", []Key{Up, Down, Up, Down}, ""},
		{"\x1b[H\x1b[F\x1b[1~\x1b[4~\x1b[5~\x1b[6~", []Key{Home, End, Home, End, PageUp, PageDown}, ""},
		{"\x1b[1;5Aq", []Key{Unknown, 'q'}, ""},
		{"\x1b[", nil, "\x1b["},
		{"\x1b[\x03\x1b[5\x1bOA", []Key{Unknown, Interrupt, Unknown, Up}, ""},
		{"q\x1b[5", []Key{'q'}, "\x1b[5"},
		{"\x1bk", []Key{Unknown}, ""},
		{"\x1b[000000000000000000000000000000000000", []Key{Unknown}, ""},
	}
	for _, row := range rows {
		keys, rest := Decode([]byte(row.sent))
		if !slices.Equal(keys, row.keys) || string(rest) != row.rest {
			t.Errorf("%q is %v and %q, and should be %v and %q", row.sent, keys, rest, row.keys, row.rest)
		}
	}
}

// TestKeysComeInPieces gives every key the same meaning however it is cut, except for an
// Escape, which is a key when nothing follows.
func TestKeysComeInPieces(t *testing.T) {
	t.Parallel()
	const sent = "a\x1b[5~é\x1bOB😀"
	want := []Key{'a', PageUp, 'é', Down, '😀'}
	for cut := range len(sent) {
		if cut > 0 && sent[cut-1] == 0x1b {
			continue
		}
		keys, rest := Decode([]byte(sent[:cut]))
		more, rest := Decode(append(rest, sent[cut:]...))
		if keys = append(keys, more...); !slices.Equal(keys, want) || len(rest) > 0 {
			t.Errorf("cut at %d it is %v and %q", cut, keys, rest)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("\x1b[A\x1b[é\xff"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		keys, rest := Decode(sent)
		if len(keys)+len(rest) > len(sent) || len(rest) > 64 {
			t.Errorf("%q has %d keys and %q", sent, len(keys), rest)
		}
	})
}
