package expression

import (
	"strings"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// bombs are expressions that go over what a message brings again and again.
var bombs = []string{
	`msg.json.all(a, msg.json.all(b, msg.json.all(c, a + b + c > 0)))`,
	`msg.json.map(a, msg.json.map(b, msg.text)) == []`,
	`msg.json.map(a, msg.text + msg.text) == []`,
	`msg.json.map(a, msg.text.upperAscii()) == []`,
	`msg.json.map(a, msg.text.split("")) == []`,
	`cel.bind(a, msg.text + msg.text, cel.bind(b, a + a, cel.bind(c, b + b, cel.bind(d, c + c, size(d + d + d + d + d + d + d + d) > 1))))`,
}

func TestLoopsAreCutShort(t *testing.T) {
	long := "[" + strings.Repeat("1,", 1<<19-1) + "1]"
	for _, source := range bombs {
		e, err := Compile(source)
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		if _, err := e.Holds(message(messages.Text, long)); err == nil ||
			!strings.Contains(err.Error(), "the expression costs more than 5000000 for this message") {
			t.Errorf("%s: got %v", source, err)
		}
	}
}

func TestLoopsEndWithTheTimeForTheMessage(t *testing.T) {
	for _, source := range []string{
		bombs[0],
		`msg.json.all(a, !msg.text.matches("(1,)+x"))`,
		`msg.json.all(a, !(a + 1 in msg.json))`,
		`msg.json.all(a, msg.json.all(b, true))`,
	} {
		e, err := Compile(source)
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		m := &messages.Message{Conn: connection}
		m.Begin(messages.FromClient, messages.Text, []byte("["+strings.Repeat("1,", 1<<17)+"1]"), time.Now())
		if _, err := e.Holds(m); err == nil || err.Error() != "the expression takes too long for this message" {
			t.Errorf("%s: got %v", source, err)
		}
	}
}

func TestDeepDocumentsAreReadOnce(t *testing.T) {
	const levels = 4900
	deep := strings.Repeat(`{"a":[`, levels) + `"` + strings.Repeat("x", 200<<10) + `"` + strings.Repeat("]}", levels)
	document := `{"l":` + deep + `,"r":` + deep + `}`
	for source, want := range map[string]bool{
		`msg.json.l == msg.json.r`:                    true,
		`msg.json.l in [msg.json.r]`:                  true,
		`[msg.json.l] == [msg.json.r]`:                true,
		`msg.json.l.a.map(x, x) == msg.json.r.a`:      true,
		`msg.json.l.a[0].a[0].a[0].a == msg.json.r.a`: false,
	} {
		holds(t, source, message(messages.Text, document), want)
	}
}

// what anyone may send is evaluated with expressions of all kinds.
var handful = []string{
	`msg.json.type == "debug" && msg.json.items[0].n > 1`,
	`msg.json == msg.json && size(msg.json) > 0 && msg.json[0] in msg.json`,
	`msg.json.exists(x, msg.json[x] == msg.json || x in msg.json)`,
	`msg.json.a.map(x, x.b.filter(y, y > 1)) == [] || type(msg.json) == map`,
	`msg.text.substring(1).split(",").all(w, w.matches("^[a-z\\pL]+$")) && msg.text.charAt(2) == "x"`,
	`int(msg.text) + int(msg.json) > 0 || double(msg.text) < 0.0 || timestamp(msg.text) < timestamp("2026-01-01T00:00:00Z")`,
	`string(msg.binary) == msg.text || size(msg.binary) != msg.size || duration(msg.text) > duration("1s")`,
	bombs[0],
}

func FuzzExpression(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `[]`, `{"type":"debug","items":[{"n":2}]}`, `{"a":[{"b":[1,2]}]}`, `[[[1]]]`, `"\ud800"`, "\"\xff\\u0000\"",
		`{"a":1,"a":[],"\u0061":{}}`, `1e999`, `-0`, `12345678901234567890`, `  [ 1 , { "a" : "\\\"" } ]  `, "a,bé,\x80", "\xff\xfe",
		`{"{\"}":"[\\\\\"]","":{}}`,
	} {
		f.Add(seed)
	}
	var expressions []*Expression
	for _, source := range handful {
		e, err := Compile(source)
		if err != nil {
			f.Fatalf("%s: %v", source, err)
		}
		expressions = append(expressions, e)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		for i, e := range expressions {
			for _, kind := range []messages.Type{messages.Text, messages.Binary} {
				if _, err := e.Holds(message(kind, payload)); err != nil && strings.Contains(err.Error(), "cannot be evaluated") {
					t.Errorf("%s panicked", handful[i])
				}
			}
		}
	})
}
