package wsframe

import (
	"encoding/binary"
	"iter"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// pieces cuts a stream: each byte of cuts is the size of a piece, and what is left is
// the last one. No piece can be extended to what comes after it.
func pieces(stream, cuts []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		rest := stream
		for i := 0; len(rest) > 0; i++ {
			size := len(rest)
			if i < len(cuts) {
				size = min(size, int(cuts[i]))
			}
			if !yield(rest[:size:size]) {
				return
			}
			rest = rest[size:]
		}
	}
}

// viable reports whether p is the beginning of some text in UTF-8.
func viable(p []byte) bool {
	for len(p) > 0 {
		r, size := utf8.DecodeRune(p)
		if r == utf8.RuneError && size == 1 {
			return !utf8.FullRune(p)
		}
		p = p[size:]
	}
	return true
}

func mask(p []byte, key [4]byte, offset uint64) []byte {
	masked := slices.Clone(p)
	for i := range masked {
		masked[i] ^= key[(offset+uint64(i))%4]
	}
	return masked
}

// checkUTF8 validates a text in pieces, and wants to hear of a wrong byte with the piece
// it is in.
func checkUTF8(t *testing.T, text []byte, key [4]byte, offset uint64, cuts []byte) {
	t.Helper()
	var u UTF8
	at := 0
	for piece := range pieces(mask(text, key, offset), cuts) {
		got := u.Scan(piece, key, offset+uint64(at))
		at += len(piece)
		if want := viable(text[:at]); got != want {
			t.Fatalf("%q after %d bytes: Scan = %v, want %v", text, at, got, want)
		}
	}
	if got, want := u.Complete(), utf8.Valid(text); got != want {
		t.Fatalf("%q: Complete() = %v, want %v", text, got, want)
	}
}

// texts are right and wrong. Some are from the conformance tests of Autobahn, cases 6.*.
var texts = []string{
	"", "a", "Hello-µ@ßöäüàá-UTF-8!!", "κόσμε", "\U0010FFFF", "\U00010000", "\uD7FF\uE000\uFFFF\uFFFE",
	"κόσμε\xf4\x90\x80\x80edited",          // 6.4.1: beyond U+10FFFF
	"\xce\xba\xe1\xbd\xb9\xf8\x88\x80\x80", // five bytes
	"\xed\xa0\x80", "\xed\xbf\xbf",         // surrogates
	"\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbb\xbf", "\x00",
	"\xc0\xaf", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", // overlong
	"\xe0\xa0\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf",
	"\x80", "\xbf", "\xfe", "\xff", "\xf5\x80\x80\x80", "\xc2", "\xe2\x82", "\xf0\x9f\x98", "\xc2a", "\xe2\x82a",
	"a long text, ASCII alone, that is more than one block of thirty-two bytes",
	"a long text with one bad byte far behind, in a block that is skipped otherwise: \xff and more",
	strings.Repeat("x", 31) + "é" + strings.Repeat("x", 31) + "€", strings.Repeat("日本語", 20), strings.Repeat("x", 39) + "\xe2\x82",
}

func TestUTF8FindsTheFirstWrongByte(t *testing.T) {
	t.Parallel()
	for _, text := range texts {
		for _, key := range [][4]byte{{}, [4]byte(testKey), {0x80, 0x00, 0xFF, 0x7F}} {
			for _, piece := range []byte{1, 2, 3, 7, 8, 9, 33, 255} {
				checkUTF8(t, []byte(text), key, uint64(piece), slices.Repeat([]byte{piece}, len(text)))
			}
		}
	}
}

func TestUTF8FindsAWrongByteWhereverItIs(t *testing.T) {
	t.Parallel()
	for _, key := range [][4]byte{{}, [4]byte(testKey), {0x80, 0x00, 0xFF, 0x7F}} {
		for _, wrong := range []string{"\xff", "\xe3", "\x80"} {
			for at := range 64 {
				text := strings.Repeat("0", at) + wrong + strings.Repeat("0", 95-at)
				for _, cuts := range [][]byte{nil, {1}, {7}, {64}, {88}} {
					checkUTF8(t, []byte(text), key, uint64(at), cuts)
				}
			}
		}
	}
}

func TestUTF8JudgesEveryRuneOfUpToThreeBytes(t *testing.T) {
	t.Parallel()
	for n := range uint32(1 << 24) {
		if n&0x80_0000 == 0 {
			continue // begins with ASCII: the rest is shorter
		}
		p := [3]byte{byte(n >> 16), byte(n >> 8), byte(n)}
		var u UTF8
		going := u.Scan(p[:], [4]byte{}, 0)
		if u.Complete() != utf8.Valid(p[:]) || going != viable(p[:]) {
			t.Fatalf("%x: Scan = %v, Complete() = %v", p, going, u.Complete())
		}
	}
}

func TestUTF8StaysInvalid(t *testing.T) {
	t.Parallel()
	var u UTF8
	u.Scan([]byte("\xff"), [4]byte{}, 0)
	if u.Scan([]byte("and then sixteen bytes and more of ASCII"), [4]byte{}, 1) || u.Scan(nil, [4]byte{}, 0) || u.Complete() {
		t.Error("what is not UTF-8 has become so")
	}
}

func TestUTF8BeginsAgainAfterAMessage(t *testing.T) {
	t.Parallel()
	var u UTF8
	for range 3 {
		if !u.Scan([]byte("\xe2\x82"), [4]byte{}, 0) || u.Complete() || !u.Scan([]byte("\xac"), [4]byte{}, 0) || !u.Complete() {
			t.Fatal("a message was not found to be UTF-8")
		}
	}
}

func FuzzUTF8(f *testing.F) {
	for i, text := range texts {
		f.Add([]byte(text), binary.BigEndian.Uint32(testKey)*uint32(i%2), uint8(i), []byte{byte(i), 1, 3, 40})
	}
	f.Fuzz(func(t *testing.T, text []byte, key uint32, offset uint8, cuts []byte) {
		before := slices.Clone(text)
		checkUTF8(t, text, [4]byte(binary.BigEndian.AppendUint32(nil, key)), uint64(offset), cuts)
		if !slices.Equal(text, before) {
			t.Error("validating changed the text")
		}
	})
}

func BenchmarkUTF8(b *testing.B) {
	sentences := map[string]string{
		"ASCII":    "The quick brown fox jumps over the lazy dog. ",
		"German":   "Über den Wolken muß die Freiheit wohl grenzenlos sein, sagt man. ",
		"Cyrillic": "Съешь же ещё этих мягких французских булок, да выпей чаю. ",
		"Chinese":  "我能吞下玻璃而不伤身体。",
	}
	for name, sentence := range sentences {
		text := []byte(strings.Repeat(sentence, 1+(16<<10)/len(sentence)))
		for how, key := range map[string][4]byte{"plain": {}, "masked": [4]byte(testKey)} {
			masked := mask(text, key, 0)
			b.Run(name+"/"+how, func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(masked)))
				for b.Loop() {
					var u UTF8
					if !u.Scan(masked, key, 0) || !u.Complete() {
						b.Fatal("not UTF-8")
					}
				}
			})
		}
	}
}
