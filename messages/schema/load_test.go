package schema

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

func TestSchemaErrorsNameFileAndPlace(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ schema, want string }{
		"no JSON":             {"{\n  \"type\": string }", `s.json": line 2, column 11: not JSON`},
		"a name twice":        {`{"type": "string", "type": "null"}`, `line 1, column 26: a name stands twice`},
		"an unknown type":     {`{"properties": {"a/b": {"type": "int"}}}`, `s.json#/properties/a~1b/type: int is none of array, boolean, integer, null, number, object, string`},
		"a type of several":   {`{"type": ["string", "objet"]}`, `s.json#/type/1: objet is none of array, boolean`},
		"a type in draft 4":   {`{"$schema": "http://json-schema.org/draft-04/schema#", "type": "objet"}`, `s.json#/type: objet is none of array, `},
		"a type that is none": {`{"type": 5}`, `s.json#/type: `},
		"a wrong keyword":     {`{"items": {"minimum": "1"}}`, `s.json#/items/minimum: is string, not number`},
		"an array":            {`[]`, `s.json#: is array, not boolean or object`},
		"a look-ahead":        {`{"items": {"pattern": "(?=a)"}}`, `s.json#/items/pattern: the pattern "(?=a)" is not supported: invalid or unsupported Perl syntax: `},
		"a pattern as a name": {`{"patternProperties": {"\\u00e9": true}}`, `s.json#/patternProperties: `},
		"a look-ahead in 7":   {`{"$schema": "http://json-schema.org/draft-07/schema#", "pattern": "(?=a)"}`, `s.json#/pattern: the pattern "(?=a)" is not supported: `},
		"a remote reference":  {`{"items": {"$ref": "https://example.com/a.json#/b"}}`, `s.json#/items/$ref: $ref to https://example.com/a.json#: schemas are read from local files only`},
		"a remote $id":        {`{"$id": "https://example.com/s.json", "$ref": "b.json"}`, `s.json#/$ref: $ref to https://example.com/b.json#: schemas are read from local files only`},
		"another host's file": {`{"$ref": "file://example.com/a.json"}`, `s.json#/$ref: $ref to file://example.com/a.json#: schemas are read from local files only`},
		"an unknown draft":    {`{"$schema": "https://example.com/draft-99"}`, `s.json#/$schema: $schema to https://example.com/draft-99#: schemas are`},
		"no such file":        {`{"allOf": [{"properties": {"a/ b": {"$ref": "missing.json#/a"}}}]}`, `s.json#/allOf/0/properties/a~1 b/$ref: $ref to `},
		"no such place":       {`{"$ref": "#/$defs/a"}`, `s.json#/$defs/a`},
		"a circle":            {`{"type": "object", "allOf": [{"$ref": "#"}]}`, `a reference leads back to itself`},
		"a circle of numbers": {`{"if": {"type": "number"}, "then": {"$ref": "#"}}`, `a reference leads back to itself`},
		"a huge number":       {`{"minimum": 1e999999999}`, `a number has more than 1000 digits`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &Schema{File: write(t, t.TempDir(), "s.json", test.schema)}
			err := s.Provision(caddy.Context{})
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), s.File) {
				t.Errorf("got %v\nwant …%s…", err, test.want)
			}
		})
	}
}

func TestSchemaRefersToFilesBesideIt(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "50% of #1, ü")
	if err := os.MkdirAll(filepath.Join(dir, "parts"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "parts/b.json", `{"$defs": {"id": {"$ref": "c.json"}}}`)
	write(t, dir, "parts/c.json", `{"$schema": "http://json-schema.org/draft-07/schema#", "type": "integer"}`)
	s := &Schema{File: write(t, dir, "a.json", `{"properties": {"id": {"$ref": "parts/b.json#/$defs/id"}}}`)}
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if got := handled(t, s, messages.Text, `{"id":1}`); got.Kind != messages.KindPass {
		t.Errorf("got %v", got)
	}
	if got := handled(t, s, messages.Text, `{"id":"1"}`); got.Reason != "/id: is string, not integer" {
		t.Errorf("got %v", got)
	}
	write(t, dir, "parts/c.json", `{"type": "integre"}`)
	err := (&Schema{File: s.File}).Provision(caddy.Context{})
	if want := filepath.FromSlash("parts/c.json") + "#/type: "; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want …%s…", err, want)
	}
	if err := os.Remove(filepath.Join(dir, "parts/c.json")); err != nil {
		t.Fatal(err)
	}
	err = (&Schema{File: s.File}).Provision(caddy.Context{})
	if want := filepath.FromSlash("parts/b.json") + "#/$defs/id/$ref: $ref to "; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want …%s…", err, want)
	}
}

func TestUnmarshalCaddyfile(t *testing.T) {
	t.Parallel()
	file := filepath.ToSlash(write(t, t.TempDir(), "s.json", `{"format": "date"}`))
	good := map[string]Schema{
		"schema " + file:           {},
		"schema " + file + " {\n}": {},
		"schema " + file + " {\nelse drop\nassert_format\npass_binary\n}": {AssertFormat: true, PassBinary: true},
	}
	for text, want := range good {
		var s Schema
		if err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if s.File != file || s.AssertFormat != want.AssertFormat || s.PassBinary != want.PassBinary ||
			(s.Else != nil) != strings.Contains(text, "else") {
			t.Errorf("%s: got %+v", text, s)
		}
	}
	bad := map[string]string{
		"schema":             "the schema file is missing",
		"schema a b":         "too many arguments: schema <file>",
		"schema a else drop": "else stands in the block of schema",
		"schema \"\"":        "the path of a file is missing",
		"schema " + file + ".json {\nelse drop\n}":            "no such file or directory, at Testfile:1",
		"schema " + file + " {\nformat\n}":                    `unknown word "format" in schema: allowed are assert_format, else, pass_binary, at Testfile:2`,
		"schema " + file + " {\nassert_format on\n}":          "too many arguments: assert_format takes none",
		"schema " + file + " {\npass_binary\npass_binary\n}":  "pass_binary is already set",
		"schema " + file + " {\nelse drop\nelse drop\n}":      "else is already set",
		"schema " + file + " {\nelse close 1006\n}":           "the close code 1006 cannot be sent",
		"schema " + write(t, t.TempDir(), "s.json", `{"a":}`): "line 1, column 6: not JSON, at Testfile:1",
	}
	for text, want := range bad {
		err := new(Schema).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\ngot %v\nwant …%s…", text, err, want)
		}
	}
}
