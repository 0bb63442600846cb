package json

import (
	"encoding/json"
	"strings"
	"testing"
)

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
		nested(deepest), nested(deepest + 1), nested(100_000), strings.Repeat("[", 100_000),
		strings.Repeat(`{"a":`, deepest) + "1" + strings.Repeat("}", deepest),
		strings.Repeat(`{"a":[`, deepest/2) + "1" + strings.Repeat("]}", deepest/2),
		strings.Repeat(`{"a":[`, deepest/2) + "1" + strings.Repeat("}]", deepest/2),
	}, texts...)
	for _, text := range all {
		if got, want := valid([]byte(text)), json.Valid([]byte(text)); got != want {
			t.Errorf("valid is %v for %.100q", got, text)
		}
		for i := range min(len(text), 100) { // whatever is missing
			part := text[:i]
			if got, want := valid([]byte(part)), json.Valid([]byte(part)); got != want {
				t.Errorf("valid is %v for %q", got, part)
			}
		}
	}
}

func TestPlainFindsTheFirstSpecialCharacter(t *testing.T) {
	for c := range 256 {
		special := c < 0x20 || c == '"' || c == '\\'
		for at := range 20 {
			text := []byte(strings.Repeat("\x80", 20))
			text[at] = byte(c)
			text[19] = '"'
			want := at
			if !special {
				want = 19
			}
			if got := plain(text, 0); got != want {
				t.Errorf("%#x at %d: got %d", c, at, got)
			}
		}
	}
}

func TestNamesAreComparedAsWhatTheyStandFor(t *testing.T) {
	for _, c := range []struct {
		spelled, name string
		same          bool
	}{
		{`user`, "user", true}, {`User`, "user", false}, {`users`, "user", false}, {`use`, "user", false},
		{`us\u0065r`, "user", true}, {`\u0075\u0073\u0065\u0072`, "user", true}, {`us\u0045r`, "user", false},
		{`us\u0065`, "user", false}, {`us\u0065rs`, "user", false}, {`a\/b`, "a/b", true}, {`a\\b`, `a\b`, true},
		{`\"`, `"`, true}, {`\b\f\n\r\t`, "\b\f\n\r\t", true}, {`\ud83d\ude00`, "😀", true}, {`\uD83D\uDE00!`, "😀!", true},
		{`\ud83d`, "\uFFFD", true}, {`\ude00\ud83d`, "\uFFFD\uFFFD", true}, {`\ud83dx`, "\uFFFDx", true},
		{`\ud83d\u0041`, "\uFFFDA", true}, {`\u00e9`, "é", true}, {`é`, "é", true}, {`user\u0000`, "user", false},
	} {
		if got := sameName([]byte(c.spelled), c.name); got != c.same {
			t.Errorf("%s and %q: got %v", c.spelled, c.name, got)
		}
		var decoded string
		if err := json.Unmarshal([]byte(`"`+c.spelled+`"`), &decoded); err != nil || (decoded == c.name) != c.same {
			t.Errorf("encoding/json has %q for %s: %v", decoded, c.spelled, err)
		}
	}
}
