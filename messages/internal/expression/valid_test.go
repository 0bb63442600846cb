package expression

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

func TestValidAgreesWithEncodingJSON(t *testing.T) {
	for _, document := range documents {
		if got, want := valid([]byte(document)), json.Valid([]byte(document)); got != want {
			t.Errorf("%.60q: got %v, want %v", document, got, want)
		}
	}
}

func FuzzValid(f *testing.F) {
	for _, document := range documents {
		f.Add([]byte(document))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		if got, want := valid(document), json.Valid(document); got != want {
			t.Errorf("%q: got %v, want %v", document, got, want)
		}
	})
}
