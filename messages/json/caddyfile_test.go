package json

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestUnmarshalCaddyfileReadsABlock(t *testing.T) {
	e := new(Edits)
	d := caddyfile.NewTestDispenser(`json {
		set user_id {http.auth.user.id}
		set n 5
		delete items.*.secret
		rename a b.c
		require type
		non_json close 1007 "not JSON"
		else drop
	}
	next`)
	if err := e.UnmarshalCaddyfile(d); err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(e)
	want := `{"edits":[{"set":"user_id","value":"{http.auth.user.id}"},{"set":"n","value":5},{"delete":"items.*.secret"},` +
		`{"rename":"a","to":"b.c"},{"require":"type"}],"non_json":{"close":{"code":1007,"reason":"not JSON"}},"else":{"drop":true}}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
	if !d.Next() || d.Val() != "next" {
		t.Error("more than the block was taken")
	}
}

func TestUnmarshalCaddyfileSaysWhatIsWrong(t *testing.T) {
	for block, want := range map[string]string{
		``:                "there are no edits",
		`non_json drop`:   "there are no edits: add set, delete, rename or require",
		`remove a`:        `unknown word "remove" in json: allowed are delete, else, non_json, rename, require, set`,
		`set a`:           "an argument is missing: set <path> <value>",
		`set a b c`:       "too many arguments: set <path> <value>; what has blanks needs quotes",
		`set "" b`:        "the path is empty: set <path> <value>",
		`rename a ""`:     "the path is empty: rename <path> <path>",
		`rename a a`:      `rename: "a" is renamed to itself`,
		`rename a`:        "an argument is missing: rename <path> <path>",
		`delete`:          "an argument is missing: delete <path>",
		`require a b`:     "too many arguments: require <path>",
		`delete a..b`:     `delete: the path "a..b" has an empty name`,
		`delete .a`:       "has an empty name: write one dot between names, and none around them",
		`delete a.`:       "has an empty name",
		"delete `a\\`":    "ends with a backslash: write two for one",
		`delete items[0]`: `has a [, which means nothing here: write items.0 for an element`,
		`set {http.a} 1`:  "paths have no placeholders",
		`delete a*`:       `has a * in "a*"`,
		`set a.*.b 1`:     `a path has the name *, which is for delete: write \* if it is one`,
		`require *`:       "which is for delete",
		`rename a *`:      "which is for delete",
		`delete a.-1`:     "which is a new element",
		`rename a.-1 b`:   "which is a new element",
		`delete a.#.b`:    `has the name #: write \# if it is one`,
		`delete $.a`:      `has the name $: write \$ if it is one`,
		`delete ` + strings.Repeat("a.", 64) + `a`:                  "the path has 65 names: it may have 64",
		"set a {msg.user}":                                          "set: the placeholder {msg.user} is unknown: there are {msg.text}",
		"set a `{\"a\":{http.a}}`":                                  "begins like JSON and is none: placeholders must be within strings",
		`set a "\"x"`:                                               "begins like JSON and is none",
		`delete a { }`:                                              "a block is not expected here",
		"delete a\nelse drop":                                       "else is for set, rename and require, of which there is none",
		"require a\nelse drop\nelse drop":                           "else is already set",
		"require a\nelse ignore":                                    `unknown word "ignore" after else`,
		"delete a\nnon_json":                                        "an argument is missing: non_json pass",
		"delete a\nnon_json ignore":                                 `unknown word "ignore" after non_json: allowed are pass, drop, close <code> [<reason>]`,
		"delete a\nnon_json drop it":                                "too many arguments",
		"delete a\nnon_json close":                                  "an argument is missing",
		"delete a\nnon_json close x":                                `non_json: the close code "x" is not a number`,
		"delete a\nnon_json close 1006":                             "non_json: the close code 1006 cannot be sent",
		"delete a\nnon_json drop\nnon_json pass":                    "non_json is already set",
		"delete a\nnon_json close 1008 " + strings.Repeat("a", 124): "non_json: the reason has 124 bytes",
	} {
		err := new(Edits).UnmarshalCaddyfile(caddyfile.NewTestDispenser("json {\n" + block + "\n}"))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Testfile:") {
			t.Errorf("%s:\n got %v\nwant %s", block, err, want)
		}
	}
	err := new(Edits).UnmarshalCaddyfile(caddyfile.NewTestDispenser("json delete a"))
	if err == nil || !strings.Contains(err.Error(), "json takes a block") {
		t.Errorf("got %v", err)
	}
}

func TestProvisionSaysWhatIsWrong(t *testing.T) {
	for config, want := range map[string]string{
		`{}`:                      "json: there are no edits",
		`{"edits":[{}]}`:          "json: an edit has no path",
		`{"edits":[{"set":"a"}]}`: "json: set: the value is missing: null is one",
		`{"edits":[{"set":"a","delete":"b","value":1}]}`:                  "json: set and delete are in one edit: make them two",
		`{"edits":[{"delete":"b","value":1}]}`:                            "json: delete has a value, which is for set",
		`{"edits":[{"require":"b","to":"c"}]}`:                            "json: require has the path to, which is for rename",
		`{"edits":[{"rename":"b"}]}`:                                      "json: rename: the path is empty",
		"{\"edits\":[{\"set\":\"b\",\"value\":\"\xff\"}]}":                "json: set: the value is not JSON",
		`{"edits":[{"delete":"b"}],"non_json":{}}`:                        "json: non_json: say exactly one of pass, drop and close",
		`{"edits":[{"delete":"b"}],"non_json":{"pass":true,"drop":true}}`: "json: non_json: say exactly one",
		`{"edits":[{"delete":"b"}],"non_json":{"close":{"code":1006}}}`:   "json: non_json: the close code 1006",
		`{"edits":[{"require":"b"}],"else":{}}`:                           "json: else: say exactly one of drop, close and reply",
	} {
		e := new(Edits)
		if err := json.Unmarshal([]byte(config), e); err != nil {
			t.Fatalf("%s: %v", config, err)
		}
		for _, err := range []error{e.Validate(), e.Provision(caddy.Context{})} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s:\n got %v\nwant %s", config, err, want)
			}
		}
	}
}

func TestSetTakesNullFromJSON(t *testing.T) {
	e := new(Edits)
	if err := json.Unmarshal([]byte(`{"edits":[{"set":"a","value":null}]}`), e); err != nil {
		t.Fatal(err)
	}
	if err := e.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if got := edited(t, e, `{"a":1}`); got != `{"a":null}` {
		t.Errorf("got %s", got)
	}
}
