package jsontext

import (
	"encoding/json"
	"strings"
	"testing"
)

// documents are at the edge of what JSON is.
var documents = []string{
	``, ` `, `{}`, `[]`, ` { } `, ` [ ] `, `{]`, `[}`, `[`, `{`, `]`, `}`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{,}`,
	`{"a" : [ 1 , 2 ] , "b" : { } }`, `{"a":1 "b":2}`, `{"a",1}`, `{a:1}`, `{"a":}`, `[1,]`, `[,1]`, `[1 2]`, `[[],[]]`, `[[]]]`, `{} {}`,
	`true`, `tru`, `truex`, `false`, `null`, `nul`, `0`, `-0`, `-`, `01`, `1.`, `.1`, `1.0`, `1e`, `1e+`, `1E-1`, `1e5x`, `+1`, `1 1`, `0x1`,
	`"`, `""`, `"a`, `"\`, `"\"`, `"\""`, `"\u12"`, `"\u123`, `"\u1234`, `"\u1234"`, `"\uGGGG"`, `"\x"`, "\"\n\"", "\"\x1f\"", "\"\xff\"", "\"\x7f\"",
	"\xef\xbb\xbf{}", "{}\x00", "\f{}", `{"a":{"b":[{"c":[]}]}}`, `[1,{"a":2},"b",null,true,false,-1.5e-3]`,
	strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000),
	strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001),
}

// texts are JSON and what nearly is.
var texts = []string{
	``, ` `, `null`, ` true `, `false`, `nul`, `nulll`, `truefalse`, `0`, `-0`, `00`, `01`, `-`, `1.`, `.5`, `1.5e`,
	`1e5`, `1E+5`, `1e-05`, `-1.50e+10`, `123456789012345678901234567890`, `NaN`, `Infinity`, `+1`, `0x10`,
	`""`, `"`, `"a`, `"a"b`, `"\"`, `"\""`, `"\u12"`, `"\u123g"`, `"\u12aF"`, `"\ud800"`, `"\x"`, `"\`, "\"\x00\"", "\"\x1f\"",
	"\"\x7f\"", "\"a\nb\"", `"12345678\"12345678"`, "\"1234567\x01\"", "\"12345678\t\"", `"é€😀"`, "\"\xff\"",
	`{}`, `{`, `}`, `{]`, `[}`, `[]`, `[`, `]`, `[ ]`, `{ }`, `[1,]`, `[,1]`, `[1 2]`, `[1,2]`, `{"a"}`, `{"a":}`, `{"a":1,}`,
	`{,}`, `{a:1}`, `{'a':1}`, `{"a":1 "b":2}`, `{"a" : 1 , "b":[ {} , [] ] }`, `{"a":1}{"b":2}`, `{"a":1} x`, "{\"a\":1}\n",
	"\xef\xbb\xbf{}", "{}\x00", `/* */{}`, `{"a":1}//`, `[1,[2,{"a":[]}]]`, `{1:2}`, "\v{}", "[1\u00a0]", `{"a"::1}`, `[1]]`, `{"a":1}}`,
}

func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestValidIsWhatEncodingJSONTakes(t *testing.T) {
	all := append([]string{
		nested(Deepest), nested(Deepest + 1), nested(100_000), strings.Repeat("[", 100_000),
		strings.Repeat(`{"a":`, Deepest) + "1" + strings.Repeat("}", Deepest),
		strings.Repeat(`{"a":[`, Deepest/2) + "1" + strings.Repeat("]}", Deepest/2),
		strings.Repeat(`{"a":[`, Deepest/2) + "1" + strings.Repeat("}]", Deepest/2),
	}, append(texts, documents...)...)
	for _, text := range all {
		if got, want := Valid([]byte(text)), json.Valid([]byte(text)); got != want {
			t.Errorf("Valid is %v for %.100q", got, text)
		}
		for i := range min(len(text), 100) { // whatever is missing
			part := text[:i]
			if got, want := Valid([]byte(part)), json.Valid([]byte(part)); got != want {
				t.Errorf("Valid is %v for %q", got, part)
			}
		}
	}
}

func TestPlainFindsTheFirstSpecialCharacter(t *testing.T) {
	for c := range 256 {
		special := c < 0x20 || c == '"' || c == '\\'
		for at := range 40 {
			text := []byte(strings.Repeat("\x80", 40))
			text[at] = byte(c)
			text[39] = '"'
			want := at
			if !special {
				want = 39
			}
			if got := Plain(text, 0); got != want {
				t.Errorf("%#x at %d: got %d", c, at, got)
			}
		}
	}
}

func FuzzValid(f *testing.F) {
	for _, document := range append(texts, documents...) {
		f.Add([]byte(document))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		if got, want := Valid(document), json.Valid(document); got != want {
			t.Errorf("%q: got %v, want %v", document, got, want)
		}
	})
}

// TestValidFindsWhatIsWrongWhereverItStands is about strings longer than what is looked at
// byte by byte.
func TestValidFindsWhatIsWrongWhereverItStands(t *testing.T) {
	for _, piece := range []string{"\x00", "\x1f", "\"", `\`, `\\`, `\n`, `\x`, `\u00e9`, `\u00e`, "é", ","} {
		for before := range 40 {
			for _, behind := range []int{0, 1, 8, 40} {
				document := `["` + strings.Repeat("a", before) + piece + strings.Repeat("b", behind) + `"]`
				if got, want := Valid([]byte(document)), json.Valid([]byte(document)); got != want {
					t.Errorf("Valid is %v for %q", got, document)
				}
			}
		}
	}
}

func BenchmarkValid(b *testing.B) {
	for name, document := range map[string]string{
		"short":   `{"type":"chat","room":"general","at":1690000000.5,"text":"hello, \"world\""}`,
		"objects": `[` + strings.Repeat(`{"id":123456,"name":"an item, with a name","tags":["x","y"],"price":19.90},`, 50) + `1]`,
		"text":    `{"a":"` + strings.Repeat("hello there ", 5000) + `"}`,
		"numbers": `[` + strings.Repeat("12345,", 5000) + `1]`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(document)))
			text := []byte(document)
			for b.Loop() {
				if !Valid(text) {
					b.Fatal("not valid")
				}
			}
		})
	}
}
