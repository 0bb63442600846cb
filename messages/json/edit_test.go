package json

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/wsgateway/caddy-ws-gateway/messages"
	"github.com/wsgateway/caddy-ws-gateway/messages/internal/jsontext"
)

// handler returns the handler of a block in a Caddyfile, through its JSON.
func handler(t testing.TB, block string) *Edits {
	t.Helper()
	parsed := new(Edits)
	if err := parsed.UnmarshalCaddyfile(caddyfile.NewTestDispenser("json {\n" + block + "\n}")); err != nil {
		t.Fatalf("%s: %v", block, err)
	}
	config, err := json.Marshal(parsed)
	if err != nil {
		t.Fatal(err)
	}
	e := new(Edits)
	if err := json.Unmarshal(config, e); err != nil {
		t.Fatal(err)
	}
	if err := e.Provision(caddy.Context{}); err != nil {
		t.Fatalf("%s: %v", config, err)
	}
	if err := e.Validate(); err != nil {
		t.Fatal(err)
	}
	return e
}

var conn = messages.Connection{ID: "c1"}.WithPlaceholders(map[string]string{
	"http.auth.user.id": "u1",
	"http.evil":         "\",\"role\":\"admin\\\n\x00\xff\u2028",
})

func message(kind messages.Type, payload string) *messages.Message {
	m := &messages.Message{Conn: conn}
	m.Begin(messages.FromClient, kind, []byte(payload), time.Time{})
	return m
}

// edited is what becomes of a text, or the verdict if it does not pass.
func edited(t testing.TB, e *Edits, text string) string {
	t.Helper()
	m := message(messages.Text, text)
	verdict, err := e.HandleMessage(m)
	switch {
	case err != nil:
		t.Fatalf("%.100q: %v", text, err)
	case verdict.Kind == messages.KindDrop:
		return "dropped"
	case verdict.Kind == messages.KindClose:
		return fmt.Sprintf("closed %d %s", verdict.Code, verdict.Reason)
	case verdict.Kind == messages.KindReply:
		return fmt.Sprintf("answered %s %s", verdict.Type, verdict.Payload)
	}
	return string(m.Payload)
}

type editCase struct{ block, text, want string }

func check(t *testing.T, cases []editCase) {
	t.Helper()
	for _, c := range cases {
		if got := edited(t, handler(t, c.block), c.text); got != c.want {
			t.Errorf("%s on %s:\n got %s\nwant %s", c.block, c.text, got, c.want)
		}
	}
}

func TestSetPutsInAndReplaces(t *testing.T) {
	check(t, []editCase{
		{`set a 1`, `{}`, `{"a":1}`},
		{`set a 1`, ` { } `, ` {"a":1 } `},
		{`set a 1`, `{ "b" : 1.50 }`, `{ "b" : 1.50,"a":1 }`},
		{`set a 1`, `{ "a" : 2e0 , "b":3}`, `{ "a" : 1 , "b":3}`},
		{`set a 1`, `{"\u0061":2}`, `{"\u0061":1}`},
		{`set a 1`, `{"a":0,"b":9,"a":[2], "\u0061":{} }`, `{"b":9, "\u0061":1 }`},
		{`set a 1`, `null`, `{"a":1}`},
		{`set a 1`, `[{}]`, `dropped`},
		{`set a 1`, `7`, `dropped`},
		{`set a 1`, `"a"`, `dropped`},
		{`set a.b.c x`, `{"z":0}`, `{"z":0,"a":{"b":{"c":"x"}}}`},
		{`set a.b.c x`, `{"a":{"b":null}}`, `{"a":{"b":{"c":"x"}}}`},
		{`set a.b.c x`, `{"a":{"b":5}}`, `dropped`},
		{`set a.b x`, `{"a":{"b":1},"a":{"c":2}}`, `{"a":{"c":2,"b":"x"}}`},
		{`set a.b x`, `{"a":{},"a":5}`, `dropped`},
		{`set a.-1 1`, `{}`, `{"a":[1]}`},
		{`set a.-1.b 1`, `{"a":[ ]}`, `{"a":[{"b":1} ]}`},
		{`set a.-1 1`, `{"a":[0, 0 ]}`, `{"a":[0, 0,1 ]}`},
		{`set a.-1 1`, `{"a":{}}`, `dropped`},
		{`set a.-1.-1 1`, `{"a":null}`, `{"a":[[1]]}`},
		{`set a.1 "x"`, `{"a":[0, 1 ,2]}`, `{"a":[0, "x" ,2]}`},
		{`set a.1 x`, `{"a":[0]}`, `dropped`},
		{`set a.1 x`, `{"a":{}}`, `{"a":{"1":"x"}}`},
		{`set a.b x`, `{"a":[]}`, `dropped`},
		{`set a.\0 x`, `{"a":[1]}`, `dropped`},
		{`set 0.a x`, `[{"a":1}]`, `[{"a":"x"}]`},
		{`set a\.b 1`, `{"a":{"b":2}}`, `{"a":{"b":2},"a.b":1}`},
		{"set `q\"\\\\` 1", `{}`, `{"q\"\\":1}`},
		{`set id {http.auth.user.id}`, `{}`, `{"id":"u1"}`},
		{`set id {http.evil}`, `{}`, `{"id":"\",\"role\":\"admin\\\u000a\u0000` + "\uFFFD\u2028" + `"}`},
		{`set id "{http.unknown}"`, `{}`, `{"id":""}`},
		{"set at `{\"by\":\"{http.evil}\", \"n\":1.0}`", `{}`, `{"at":{"by":"\",\"role\":\"admin\\\u000a\u0000` + "\uFFFD\u2028" + `","n":1.0}}`},
		{"set at `{\"{http.auth.user.id}\":[\"{http.auth.user.id}\", \"é<{x}\"]}`", `{}`, `{"at":{"{http.auth.user.id}":["u1","é<{x}"]}}`},
		{`set n "\"5\""`, `{}`, `{"n":"5"}`},
		{`set n 1.50`, `{}`, `{"n":1.50}`},
		{`set n 05`, `{}`, `{"n":"05"}`},
		{`set n ""`, `{}`, `{"n":""}`},
		{`set n null`, `{"n":1}`, `{"n":null}`},
		{`set n {msg.size}`, `{"a":1}`, `{"a":1,"n":"7"}`},
		{`set n {msg.text}`, `{"a":1}`, `{"a":1,"n":"{\"a\":1}"}`},
		{"set a 1\nset b 2\nset a.b 3", `{}`, `dropped`},
	})
}

func TestDeleteTakesOutEverywhere(t *testing.T) {
	check(t, []editCase{
		{`delete b`, `{"a": 1, "b": 2, "c": 3}`, `{"a": 1, "c": 3}`},
		{`delete a`, `{"a": 1, "b": 2 }`, `{"b": 2 }`},
		{`delete a`, `{ "a": 1 }`, `{  }`},
		{`delete a`, `{"a":1,"b":2,"a":3,"\u0061":4,"c":5,"a":6}`, `{"b":2,"c":5}`},
		{`delete a`, `{"a":1 , "a":3 }`, `{ }`},
		{`delete a.b`, `{"a":{"b":1},"a":{"c":2,"b":3},"a":[1],"a":"b"}`, `{"a":{},"a":{"c":2},"a":[1],"a":"b"}`},
		{`delete a.b`, `{"a":null}`, `{"a":null}`},
		{`delete a.0`, `{"a":[1 , 2]}`, `{"a":[2]}`},
		{`delete a.1`, `{"a":[1 , 2]}`, `{"a":[1 ]}`},
		{`delete a.1`, `{"a":{"1":2,"01":3}}`, `{"a":{"01":3}}`},
		{`delete a.01`, `{"a":{"1":2,"01":3},"a":[1,2]}`, `{"a":{"1":2},"a":[1,2]}`},
		{`delete a.*.s`, `{"a":[{"s":1},{"s":2,"t":3},4],"s":5}`, `{"a":[{},{"t":3},4],"s":5}`},
		{`delete *.s`, `{"a":{"s":1},"b":{"s":2},"s":5}`, `{"a":{},"b":{},"s":5}`},
		{`delete *`, `{"a":{"s":1},"b":2}`, `{}`},
		{`delete *`, `[1, 2, [3]]`, `[]`},
		{`delete \*`, `{"*":1,"a":2}`, `{"a":2}`},
		{`delete a`, `5`, `5`},
	})
}

func TestRenameMoves(t *testing.T) {
	check(t, []editCase{
		{`rename a b`, `{ "a" : 1.0 , "c":2}`, `{ "b" : 1.0 , "c":2}`},
		{`rename a b`, `{"b":0,"a":1,"c":2}`, `{"b":1,"c":2}`},
		{`rename a b`, `{"a":1,"c":2,"a":3,"b":4}`, `{"c":2,"b":3}`},
		{`rename a b`, `{"b":1}`, `{"b":1}`},
		{`rename a b.c`, `{"a":[1, 2],"z":0}`, `{"z":0,"b":{"c":[1, 2]}}`},
		{`rename a.b a`, `{"a":{"b":5}}`, `{"a":5}`},
		{`rename a a.b`, `{"a":5}`, `{"a":{"b":5}}`},
		{`rename a.b a.c`, `{"a":{"b":1},"a":{"b":2}}`, `{"a":{"c":2}}`},
		{`rename a.b a.c`, `{"a":{"b":1},"a":{}}`, `{"a":{},"a":{}}`},
		{`rename a.0 a.-1`, `{"a":[1,2,3]}`, `{"a":[2,3,1]}`},
		{`rename a.0 first`, `{"a":[1,2,3]}`, `{"a":[2,3],"first":1}`},
		{`rename a b.c`, `{"a":1,"b":2}`, `dropped`},
	})
}

func TestRequireAndWhatBecomesOfTheRest(t *testing.T) {
	check(t, []editCase{
		{`require a.b`, `{"a":{"b":null}}`, `{"a":{"b":null}}`},
		{`require a.b`, `{"a":{"b":1},"a":{}}`, `dropped`},
		{`require a.b`, `{"a":{},"a":{"\u0062":1}}`, `{"a":{},"a":{"\u0062":1}}`},
		{`require a.1`, `{"a":[1]}`, `dropped`},
		{`require a.0`, `{"a":[1]}`, `{"a":[1]}`},
		{`require a`, `no`, `dropped`},
		{"require a\nelse close 1008 \"no a\"", `{}`, `closed 1008 no a`},
		{"require a\nelse reply `{\"error\":\"no a in {msg.type}\"}`", `{}`, `answered text {"error":"no a in text"}`},
		{"require a\nelse close 1008", `no`, `closed 1008 `},
		{"require a\nnon_json pass\nelse close 1008", `no`, `no`},
		{"set a 1\nelse close 1008", `no`, `no`},
		{"set a 1\nelse close 1008", `1`, `closed 1008 `},
		{"delete a\nnon_json drop", `no`, `dropped`},
		{"delete a\nnon_json close 1007 \"{http.auth.user.id}\"", `{"a":1}{"a":2}`, `closed 1007 u1`},
		{`delete a`, "\xef\xbb\xbf{\"a\":1}", "\xef\xbb\xbf{\"a\":1}"},
		{"delete a\nrename b a\nset c {msg.text}\nrequire a", `{"a":1,"b":2}`, `{"a":2,"c":"{\"a\":2}"}`},
	})
}

func TestBinaryMessagesAreEditedIfTheyAreUTF8(t *testing.T) {
	e := handler(t, "delete a\nnon_json close 1007")
	m := message(messages.Binary, `{"a":1,"b":"é"}`)
	if verdict, err := e.HandleMessage(m); err != nil || verdict.Kind != messages.KindPass || string(m.Payload) != `{"b":"é"}` || m.Type != messages.Binary {
		t.Errorf("got %+v, %v, %s", verdict, err, m.Payload)
	}
	m = message(messages.Binary, "{\"a\":1,\"b\":\"\xff\"}")
	if verdict, err := e.HandleMessage(m); err != nil || verdict.Code != 1007 {
		t.Errorf("got %+v, %v", verdict, err)
	}
}

func TestEditsWithoutEffectAllocateNothingAndKeepTheBytes(t *testing.T) {
	e := handler(t, "set a 1\nset c.d \"x\"\nset l.0 [1,2]\ndelete z.*.y\ndelete z\nrename y x\nrename q a.r\nrequire c.d")
	text := ` { "a" : 1 , "c":{"d":"x"}, "l":[ [1,2] ], "n":1.50 } `
	payload := []byte(text)
	m := message(messages.Text, "")
	var verdict messages.Verdict
	allocated := testing.AllocsPerRun(100, func() {
		m.Payload = payload
		verdict, _ = e.HandleMessage(m)
	})
	if allocated > 0 || verdict.Kind != messages.KindPass || string(m.Payload) != text || &m.Payload[0] != &payload[0] {
		t.Errorf("%v allocations, %+v, %s", allocated, verdict, m.Payload)
	}
}

func TestThePayloadIsNotWrittenBeyondItsEnd(t *testing.T) {
	buffer := []byte(`{"b":1,"a":1}{"next":1}`)
	m := message(messages.Text, "")
	m.Payload = buffer[:13]
	if _, err := handler(t, "delete b\nset a 12345678901234567890\nset c 1").HandleMessage(m); err != nil {
		t.Fatal(err)
	}
	if got := string(m.Payload); got != `{"a":12345678901234567890,"c":1}` || string(buffer[13:]) != `{"next":1}` {
		t.Errorf("got %s, and behind it %s", got, buffer[13:])
	}
}

func TestDeepMessagesAreNoJSONAndWhatIsMovedDoesNotMakeThemDeeper(t *testing.T) {
	e := handler(t, "rename a b.c\nnon_json drop")
	if got := edited(t, e, nested(jsontext.Deepest+1)); got != "dropped" {
		t.Errorf("got %.100s", got)
	}
	if got := edited(t, e, nested(jsontext.Deepest)); got != nested(jsontext.Deepest) {
		t.Errorf("got %.100s", got)
	}
	if got := edited(t, e, `{"a":`+nested(jsontext.Deepest-1)+`}`); got != "dropped" {
		t.Errorf("moved deeper: got %.100s", got)
	}
	if got := edited(t, e, `{"a":`+nested(jsontext.Deepest-2)+`}`); got != `{"b":{"c":`+nested(jsontext.Deepest-2)+`}}` {
		t.Errorf("moved: got %.100s", got)
	}
}

func TestPlaceholdersAreAskedFor(t *testing.T) {
	e := handler(t, "set a {http.a}{msg.size}\nset b `[\"{http.b}\",{\"{http.c}\":1}]`\nrequire d\n"+
		"non_json close 1008 {http.d}\nelse reply {http.e}")
	got := e.Placeholders()
	slices.Sort(got)
	if want := "http.a http.b http.d http.e"; strings.Join(got, " ") != want {
		t.Errorf("got %q", got)
	}
}
