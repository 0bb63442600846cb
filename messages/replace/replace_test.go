package replace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// rule is a compiled rule.
func rule(t testing.TB, pattern, replacement string) *Rule {
	t.Helper()
	r := &Rule{Pattern: pattern, Replacement: replacement}
	if err := r.Compile(); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReplace(t *testing.T) {
	t.Parallel()
	tests := []struct{ pattern, replacement, text, want string }{
		{`"token":"[^"]*"`, `"token":"***"`, `{"token":"s3cret","a":1,"token":""}`, `{"token":"***","a":1,"token":"***"}`},
		{`secret`, ``, `a secret is secret`, `a  is `},
		{`(\w+)@(?P<host>\w+)`, `$1 at ${host}, ${1}x`, `me@here, you@there`, `me at here, mex, you at there, youx`},
		{`a(b)?c`, `<$1>`, `ac abc`, `<> <b>`},
		{`\bcat\b`, `$0$$`, `cat concat cat`, `cat$ concat cat$`},
		{`cat`, `$`, `cat`, `$`},
		{`cat`, `$-${}${x $$1`, `cat`, `$-${}${x $1`},
		{`(?m)^(\w)`, `[$1]`, "ab\ncd\n", "[a]b\n[c]d\n"},
		{`^(a)|(b)`, `<$1$2>`, `aab`, `<a>a<b>`},
		{`(?i)ü|é`, `ß`, `ÜéÉu`, `ßßßu`},
		{`(é)(\B|\b)(x+)$`, `$3$1`, "x\u2028éxx", "x\u2028xxé"},
		{`.`, `..`, `日本`, `....`},
		{`nothing`, `x`, `text`, `text`},
		{`nothing`, `x`, ``, ``},
	}
	for _, test := range tests {
		r := &Replace{Rule: *rule(t, test.pattern, test.replacement)}
		m := new(messages.Message)
		m.Begin(messages.FromClient, messages.Text, []byte(test.text), time.Time{})
		if verdict, err := r.HandleMessage(m); err != nil || verdict.Kind != messages.KindPass {
			t.Fatal(verdict, err)
		}
		if got := string(m.Payload); got != test.want {
			t.Errorf("replace %q %q: %q becomes %q, want %q", test.pattern, test.replacement, test.text, got, test.want)
		}
	}
}

func TestReplaceLeavesBinaryMessages(t *testing.T) {
	t.Parallel()
	r := &Replace{Rule: *rule(t, `a`, `b`)}
	m := new(messages.Message)
	m.Begin(messages.FromClient, messages.Binary, []byte("a"), time.Time{})
	if _, err := r.HandleMessage(m); err != nil || string(m.Payload) != "a" {
		t.Errorf("got %q, %v", m.Payload, err)
	}
}

func TestReplaceIsBounded(t *testing.T) {
	t.Parallel()
	mega := strings.Repeat("a", 1<<20)
	for name, test := range map[string]struct {
		rule *Rule
		want error
	}{
		"many matches":   {rule(t, `a`, strings.Repeat("b", 1024)), errGrowth},
		"a large group":  {rule(t, `(a+)`, strings.Repeat("$1", 1000)), errGrowth},
		"twice as large": {rule(t, `a`, `bb`), nil},
		"no growth":      {rule(t, `(a+)`, `$1`), nil},
	} {
		if _, _, err := test.rule.Apply([]byte(mega), 0, time.Time{}); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
	// each match is found after a look at everything behind it
	quadratic := rule(t, `a.*b|a`, `c`)
	start := time.Now()
	if _, _, err := quadratic.Apply([]byte(mega[:64<<10]), 0, start.Add(20*time.Millisecond)); !errors.Is(err, errDeadline) {
		t.Errorf("got %v, want %v", err, errDeadline)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("it took %v", took)
	}
}

func TestReplaceFailsWithItsName(t *testing.T) {
	t.Parallel()
	r := &Replace{Rule: *rule(t, `a`, `b`)}
	m := new(messages.Message)
	m.Begin(messages.FromClient, messages.Text, []byte("a"), time.Now().Add(-1))
	if _, err := r.HandleMessage(m); !errors.Is(err, errDeadline) || !strings.HasPrefix(err.Error(), "replace: ") {
		t.Errorf("got %v", err)
	}
}

func TestReplaceAllocatesNothingWithoutMatch(t *testing.T) {
	r := &Replace{Rule: *rule(t, `"token":"[^"]*"`, `$0`)}
	m := new(messages.Message)
	m.Begin(messages.FromClient, messages.Text, bytes.Repeat([]byte(`{"text":"hello"}`), 100), time.Now().Add(time.Hour))
	least := math.Inf(1) // the race detector has pools forget some of what they are given
	for range 50 {
		least = min(least, testing.AllocsPerRun(2, func() { _, _ = r.HandleMessage(m) }))
	}
	if least > 0 {
		t.Errorf("%v allocations", least)
	}
}

func TestApplyTellsWhereAPlaceHasCome(t *testing.T) {
	t.Parallel()
	r := rule(t, `secret\d*`, `***`)
	const text = `a secret123 b secret c`
	for at, want := range map[int]string{
		0: "", 2: "a ", 3: "a ***", 10: "a ***", 11: "a ***", 12: "a *** ", 14: "a *** b ", 15: "a *** b ***", len(text): "a *** b *** c",
	} {
		result, moved, err := r.Apply([]byte(text), at, time.Time{})
		if err != nil || string(result[:moved]) != want {
			t.Errorf("%d: got %q, %v, want %q", at, result[:moved], err, want)
		}
	}
}

func TestReplaceErrors(t *testing.T) {
	t.Parallel()
	bad := map[string]string{
		"replace":                 "an argument is missing: replace <regexp> <replacement>",
		"replace a":               `an argument is missing`,
		"replace a b c":           "too many arguments",
		"replace a b {\nc\n}":     "a block is not expected here",
		"replace ( b":             "pattern: error parsing regexp: missing closing ): `(`, at Testfile:1",
		"replace `(?=a)` b":       "pattern: error parsing regexp: invalid or unsupported Perl syntax: `(?=`",
		"replace a* b":            `pattern: "a*" can match the empty string`,
		"replace `\"\"` b":        "",
		"replace \"\" b":          "pattern: it is missing: write a regular expression",
		"replace `\\b` b":         "can match the empty string",
		"replace `(?m)^|a` b":     "can match the empty string",
		"replace `(a|){2}$` b":    "can match the empty string",
		"replace `a{1,999}b` c":   "pattern: the regular expression has 2000 instructions, and may have 1000",
		"replace `a{0,3}` b":      "can match the empty string",
		"replace `(a?b)+\\b` b":   "",
		"replace (a) $1st":        "replacement: the pattern has no group 1st, which $1st refers to: what follows a group needs braces around it, as in ${1}st",
		"replace (a) $2":          "the pattern has no group 2",
		"replace (a) ${01}":       "the pattern has no group 01",
		"replace (?P<x>a) ${x}$0": "",
	}
	for text, want := range bad {
		err := new(Replace).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "replace: ")) {
			t.Errorf("%s:\ngot %v\nwant …%s…", text, err, want)
		}
	}
	for _, r := range []Rule{{}, {Pattern: "a", Replacement: "\xff"}, {Pattern: "\xff"}} {
		if err := (&Replace{Rule: r}).Provision(caddy.Context{}); err == nil || !strings.HasPrefix(err.Error(), "replace: ") {
			t.Errorf("%+v: got %v", r, err)
		}
	}
}

func TestReplaceInJSON(t *testing.T) {
	t.Parallel()
	var r Replace
	if err := r.UnmarshalCaddyfile(caddyfile.NewTestDispenser("replace `a(b)` $1")); err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(r)
	if want := `{"pattern":"a(b)","replacement":"$1"}`; err != nil || string(encoded) != want {
		t.Errorf("got %s, %v, want %s", encoded, err, want)
	}
	if err := json.Unmarshal(encoded, new(Replace)); err != nil {
		t.Error(err)
	}
}

// FuzzReplace holds the rule against what regexp does by itself.
func FuzzReplace(f *testing.F) {
	f.Add(`(a+)(b)?`, `<$1-${2}>`, "aabab")
	f.Add(`\b(\w)`, `$1$1`, "on the edge")
	f.Add(`(?m)^(.)|(x)$`, `$2$1`, "a\nxx")
	f.Add(`(?i)(?:k|ſ)`, `$$$0`, "Kſk")
	f.Add(`\B.`, ``, "a\xffb")
	f.Fuzz(func(t *testing.T, pattern, replacement, text string) {
		r := &Rule{Pattern: pattern, Replacement: replacement}
		if len(pattern) > 100 || r.Compile() != nil {
			return
		}
		got, moved, err := r.Apply([]byte(text), len(text)/2, time.Now().Add(10*time.Second))
		if err != nil {
			return
		}
		want := regexp.MustCompile(pattern).ReplaceAllString(text, replacement)
		if string(got) != want {
			t.Errorf("%q %q %q: got %q, want %q", pattern, replacement, text, got, want)
		}
		if moved < 0 || moved > len(got) || utf8.ValidString(text) && !utf8.Valid(got) {
			t.Errorf("%q %q %q: got %q up to %d", pattern, replacement, text, got, moved)
		}
	})
}

func BenchmarkReplace(b *testing.B) {
	for name, r := range map[string]*Rule{
		"none":   rule(b, `"token":"[^"]*"`, `"token":"***"`),
		"text":   rule(b, `"secret":"[^"]*"`, `"secret":"***"`),
		"groups": rule(b, `"(secret)":"[^"]*"`, `"$1":"***"`),
	} {
		for size, n := range map[string]int{"128B": 128, "4KiB": 4 << 10, "64KiB": 64 << 10} {
			payload := []byte(strings.Repeat(`{"secret":"abcdefgh","some":"thing to look at, longer"}`, n/50+1)[:n])
			handler := &Replace{Rule: *r}
			b.Run(fmt.Sprintf("%s/%s", name, size), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(n))
				m := new(messages.Message)
				for b.Loop() {
					m.Begin(messages.FromClient, messages.Text, payload, time.Now().Add(time.Hour))
					if _, err := handler.HandleMessage(m); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
