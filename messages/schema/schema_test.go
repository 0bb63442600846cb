package schema

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/messages"
	"github.com/wsgateway/caddy-ws-gateway/messages/otherwise"
)

// write writes a file in a directory of the test's, and returns its path.
func write(t testing.TB, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// provisioned is the handler with a schema.
func provisioned(t testing.TB, content string, set func(*Schema)) *Schema {
	t.Helper()
	s := &Schema{File: write(t, t.TempDir(), "s.json", content)}
	if set != nil {
		set(s)
	}
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	return s
}

// handled is what becomes of a message.
func handled(t testing.TB, s *Schema, kind messages.Type, payload string) messages.Verdict {
	t.Helper()
	m := &messages.Message{Conn: new(messages.Connection)}
	m.Begin(messages.FromClient, kind, []byte(payload), time.Time{})
	defer m.Finish()
	verdict, err := s.HandleMessage(m)
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Payload) != payload {
		t.Errorf("the payload became %q", m.Payload)
	}
	return verdict
}

const order = `{
	"type": "object",
	"required": ["op", "items"],
	"additionalProperties": false,
	"properties": {
		"op": {"enum": ["buy", "sell", 7]},
		"key": {"const": "sesame"},
		"note": {"type": "string", "maxLength": 5, "pattern": "^[a-z]*$"},
		"at": {"format": "date-time"},
		"tags": {"uniqueItems": true, "items": {"type": ["string", "null"]}},
		"names": {"propertyNames": {"maxLength": 2}},
		"one": {"oneOf": [
			{"properties": {"t": {"const": "a"}, "n": {"type": "integer"}}, "required": ["t", "n"]},
			{"properties": {"t": {"const": "b"}, "s": {"type": "string"}}, "required": ["t", "s"]}
		]},
		"not": {"not": {"type": "null"}},
		"big": {"type": "integer", "minimum": 9007199254740993, "multipleOf": 2},
		"items": {"type": "array", "minItems": 1, "items": {"properties": {"n/~": {"minimum": 1}}}}
	}
}`

func TestSchemaSaysWhereAndWhat(t *testing.T) {
	t.Parallel()
	s := provisioned(t, order, nil)
	tests := map[string]string{ // what is put into it: the reason, "" if it passes
		`"op":"buy","items":[1]`:                                            "",
		` "op" : 7.0 , "items":[{}] , "big": 9007199254740994`:              "",
		`"op":"buy","items":[1],"at":"yesterday"`:                           "",
		`"op":"bye","items":[1]`:                                            "/op: is none of the values of enum",
		`"op":{},"items":[1]`:                                               "/op: is none of the values of enum",
		`"op":"buy","items":[1],"key":"guess"`:                              "/key: is not the value of const",
		`"op":"buy"`:                                                        "lacks items",
		`"op":"buy","items":{}`:                                             "/items: is object, not array",
		`"op":"buy","items":[]`:                                             "/items: has 0 items, not at least 1",
		`"op":"buy","items":[1,{"n/~":0}]`:                                  "/items/1/n~1~0: is less than 1",
		`"op":"buy","items":[1],"x":1,"y":1,"z":1,"u":1`:                    "may not have u, x, y and 1 more",
		`"op":"buy","items":[1],"note":"secret"`:                            "/note: has 6 characters, not at most 5",
		`"op":"buy","items":[1],"note":"Abc"`:                               "/note: does not match pattern",
		`"op":"buy","items":[1],"tags":["a",null,"a"]`:                      "/tags: has items 0 and 2 that are equal",
		`"op":"buy","items":[1],"tags":["a",2]`:                             "/tags/1: is number, not null or string",
		`"op":"buy","items":[1],"names":{"a":1,"bcd":2}`:                    "/names: has a name that is not allowed",
		`"op":"buy","items":[1],"one":{"t":"b","s":1}`:                      "/one/s: is number, not string",
		`"op":"buy","items":[1],"one":{"t":"c"}`:                            "/one: matches none of oneOf",
		`"op":"buy","items":[1],"not":null`:                                 "/not: is what not excludes",
		`"op":"buy","items":[1],"big":9007199254740992`:                     "/big: is less than 9007199254740993",
		`"op":"buy","items":[1],"big":9007199254740995`:                     "/big: is no multiple of 2",
		`"op":"buy","items":[1],"big":9007199254740994.5`:                   "/big: is number, not integer",
		`"op":"buy","op":"bye","items":[1]`:                                 "/op: a name stands twice, at byte 16",
		`"op":"buy","items":[1,{"a":NaN}]`:                                  "/items/1/a: not JSON, at byte 28",
		`"op":"buy","items":["\ud83d\uDE00\/\u00e9"]`:                       "",
		`"op":"buy","items":[1,{"a":"x\ud800"}]`:                            "/items/1/a: not valid JSON: half a surrogate pair, at byte 28",
		`"op":"buy","items":[1,{"\udc00\ud800":1}]`:                         "/items/1: not valid JSON: half a surrogate pair, at byte 24",
		`"op":"buy","items":["\x"]`:                                         "/items/0: not JSON, at byte 21",
		`"op":"buy","items":[1e999999999]`:                                  "/items/0: a number has more than 1000 digits, at byte 21",
		`"op":"buy","items":[1],"` + strings.Repeat("é", 200) + "\":1,\"\t": "not JSON, at byte 430",
		`"op":"buy","items":[1],"a\"\\\n\u0000":1`:                          "may not have a????",
	}
	for message, want := range tests {
		got := handled(t, s, messages.Text, "{"+message+"}")
		switch {
		case want == "" && got.Kind != messages.KindPass:
			t.Errorf("{%s} is refused: %s", message, got.Reason)
		case want != "" && (got.Kind != messages.KindClose || got.Code != 1007 || got.Reason != want):
			t.Errorf("{%s}: got %d %q, want %q", message, got.Code, got.Reason, want)
		}
	}
}

func TestSchemaReasonsFitIntoCloseFrames(t *testing.T) {
	t.Parallel()
	s := provisioned(t, `{"additionalProperties": {"additionalProperties": false, "required": ["`+strings.Repeat("ü", 100)+`"]}}`, nil)
	for _, message := range []string{
		`{"` + strings.Repeat("é", 500) + `":{"` + strings.Repeat("ö", 500) + `":1}}`,
		`{"` + strings.Repeat("é", 500) + `":{}}`, `{"":{}}`,
	} {
		got := handled(t, s, messages.Text, message)
		if !messages.ValidClose(got.Code, got.Reason) || strings.ToValidUTF8(got.Reason, "") != got.Reason || len(got.Reason) < 100 {
			t.Errorf("got %q of %d bytes", got.Reason, len(got.Reason))
		}
	}
}

func TestSchemaTreatsBinaryMessagesAlike(t *testing.T) {
	t.Parallel()
	const integers = `{"type": "integer"}`
	s := provisioned(t, integers, nil)
	if got := handled(t, s, messages.Binary, "12"); got.Kind != messages.KindPass {
		t.Errorf("a valid one: %+v", got)
	}
	if got := handled(t, s, messages.Binary, "\"\xff\""); got.Reason != "not UTF-8, at byte 0" {
		t.Errorf("no UTF-8: %+v", got)
	}
	s = provisioned(t, integers, func(s *Schema) { s.PassBinary = true })
	if got := handled(t, s, messages.Binary, "\xff"); got.Kind != messages.KindPass {
		t.Errorf("with pass_binary: %+v", got)
	}
	if got := handled(t, s, messages.Text, "1.5"); got.Kind != messages.KindClose {
		t.Errorf("a text with pass_binary: %+v", got)
	}
}

func TestSchemaElse(t *testing.T) {
	t.Parallel()
	s := provisioned(t, order, func(s *Schema) {
		s.Else = &otherwise.Otherwise{Reply: `{"error":"{msg.error}","at":"{msg.error.path}"}`}
	})
	for _, kind := range []messages.Type{messages.Text, messages.Binary} {
		got := handled(t, s, kind, `{"op":1,"items":[1]}`)
		want := `{"error":"/op: is none of the values of enum","at":"/op"}`
		if got.Kind != messages.KindReply || got.Type != messages.Text || string(got.Payload) != want {
			t.Errorf("got %v %s", got, got.Payload)
		}
	}
	s = provisioned(t, order, func(s *Schema) {
		s.Else = &otherwise.Otherwise{Close: &otherwise.Close{Code: 4001, Reason: "bad: {msg.error}"}}
	})
	if got := handled(t, s, messages.Text, `{}`); got.Code != 4001 || got.Reason != "bad: lacks op, items" {
		t.Errorf("got %v", got)
	}
	s = provisioned(t, order, func(s *Schema) { s.Else = &otherwise.Otherwise{Drop: true} })
	if got := handled(t, s, messages.Text, `[`); got.Kind != messages.KindDrop {
		t.Errorf("got %v", got)
	}
}

func TestSchemaFollowsItsDraft(t *testing.T) {
	t.Parallel()
	const tuple = `"items": [{"type": "integer"}], "additionalItems": false`
	tests := map[string]struct {
		schema, good, bad string
		format            bool
	}{
		"2020-12 by default":       {schema: `{"prefixItems": [{"type": "integer"}], "items": false}`, good: `[1]`, bad: `[1,2]`},
		"2019-09":                  {schema: `{"$schema": "https://json-schema.org/draft/2019-09/schema", ` + tuple + `}`, good: `[1]`, bad: `[1,2]`},
		"7":                        {schema: `{"$schema": "http://json-schema.org/draft-07/schema#", ` + tuple + `}`, good: `[1]`, bad: `[1,2]`},
		"6":                        {schema: `{"$schema": "http://json-schema.org/draft-06/schema#", "exclusiveMinimum": 3}`, good: `4`, bad: `3`},
		"4":                        {schema: `{"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 3, "exclusiveMinimum": true}`, good: `4`, bad: `3`},
		"7 checks formats":         {schema: `{"$schema": "http://json-schema.org/draft-07/schema#", "format": "ipv4"}`, good: `"1.2.3.4"`, bad: `"1.2.3"`},
		"formats checked on order": {schema: `{"format": "date"}`, good: `"2026-01-01"`, bad: `"2026-02-30"`, format: true},
		"expressions as formats":   {schema: `{"format": "regex"}`, good: `"^a+$"`, bad: `"(a"`, format: true},
		"a boolean":                {schema: `{"properties": {"a": false}}`, good: `{"b":1}`, bad: `{"a":1}`},
		"unevaluated": {
			schema: `{"allOf": [{"properties": {"a": true}}], "unevaluatedProperties": false}`, good: `{"a":1}`, bad: `{"b":1}`,
		},
		"dynamic references": {
			schema: `{"$id": "file:///tree.json", "$dynamicAnchor": "node", "$ref": "#/$defs/tree", "$defs": {
				"tree": {"$id": "file:///base.json", "$dynamicAnchor": "node", "type": "object",
					"properties": {"children": {"items": {"$dynamicRef": "#node"}}}}}, "unevaluatedProperties": false}`,
			good: `{"children":[{"children":[]}]}`, bad: `{"children":[{"kids":[]}]}`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := provisioned(t, test.schema, func(s *Schema) { s.AssertFormat = test.format })
			if got := handled(t, s, messages.Text, test.good); got.Kind != messages.KindPass {
				t.Errorf("%s: %v", test.good, got)
			}
			if got := handled(t, s, messages.Text, test.bad); got.Kind != messages.KindClose {
				t.Errorf("%s: %v", test.bad, got)
			}
		})
	}
}
