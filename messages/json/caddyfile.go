package json

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/wsgateway/caddy-ws-gateway/messages/internal/jsontext"
	"github.com/wsgateway/caddy-ws-gateway/messages/otherwise"
)

// syntaxes are the words of the block.
var syntaxes = map[string]string{
	"set":      "set <path> <value>",
	"delete":   "delete <path>",
	"rename":   "rename <path> <path>",
	"require":  "require <path>",
	"non_json": "non_json pass, non_json drop, or non_json close <code> [<reason>]",
}

// UnmarshalCaddyfile parses:
//
//	json {
//		set     <path> <value>
//		delete  <path>
//		rename  <path> <path>
//		require <path>
//		non_json pass|drop|close <code> [<reason>]
//		else drop|close <code> [<reason>]|reply <text>
//	}
//
// A value that is JSON is taken as that, and any other as a string.
func (e *Edits) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // json
	if d.NextArg() {
		return d.Errf("too many arguments: json takes a block, with set, delete, rename or require in it")
	}
	for d.NextBlock(0) {
		if err := e.unmarshalWord(d); err != nil {
			return err
		}
		if d.Next() {
			if d.Val() == "{" {
				return d.Err("a block is not expected here")
			}
			d.Prev()
		}
	}
	if err := e.Validate(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (e *Edits) unmarshalWord(d *caddyfile.Dispenser) (err error) {
	word := d.Val()
	switch word {
	case "set", "delete", "rename", "require":
		return e.unmarshalEdit(d, word)
	case "non_json":
		if e.NonJSON != nil {
			return d.Err("non_json is already set: it may stand once")
		}
		e.NonJSON, err = parseNonJSON(d)
		return err
	case "else":
		if e.Else != nil {
			return d.Err("else is already set: it may stand once")
		}
		e.Else, err = otherwise.Parse(d)
		return err
	}
	return d.Errf("unknown word %q in json: allowed are delete, else, non_json, rename, require, set", word)
}

func (e *Edits) unmarshalEdit(d *caddyfile.Dispenser, word string) (err error) {
	args := d.RemainingArgs()
	want := strings.Count(syntaxes[word], "<")
	switch {
	case len(args) < want:
		return d.Errf("an argument is missing: %s", syntaxes[word])
	case len(args) > want:
		return d.Errf("too many arguments: %s; what has blanks needs quotes", syntaxes[word])
	case args[0] == "", word == "rename" && args[1] == "":
		return d.Errf("the path is empty: %s", syntaxes[word])
	}
	var edit Edit
	switch word {
	case "set":
		edit.Set = args[0]
		edit.Value, err = valueOf(args[1])
	case "delete":
		edit.Delete = args[0]
	case "rename":
		edit.Rename, edit.To = args[0], args[1]
	case "require":
		edit.Require = args[0]
	}
	if err == nil {
		_, err = edit.compile()
	}
	if err != nil {
		return d.WrapErr(err)
	}
	e.Edits = append(e.Edits, edit)
	return nil
}

// valueOf returns the JSON that a text is, or a string of it.
func valueOf(text string) (json.RawMessage, error) {
	if jsontext.Valid([]byte(text)) {
		return json.RawMessage(text), nil
	}
	for _, beginning := range []string{`"`, `{"`, `["`, `[{`} {
		if strings.HasPrefix(text, beginning) {
			return nil, errors.New("set: the value begins like JSON and is none: " +
				"placeholders must be within strings; a string that begins so needs quotes, as JSON has them")
		}
	}
	return appendString(nil, text), nil
}

func parseNonJSON(d *caddyfile.Dispenser) (*NonJSON, error) {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return nil, d.Errf("an argument is missing: %s", syntaxes["non_json"])
	}
	n := new(NonJSON)
	least, most := 1, 1
	switch args[0] {
	case "pass":
		n.Pass = true
	case "drop":
		n.Drop = true
	case "close":
		least, most = 2, 3
	default:
		return nil, d.Errf("unknown word %q after non_json: allowed are pass, drop, close <code> [<reason>]", args[0])
	}
	switch {
	case len(args) < least:
		return nil, d.Errf("an argument is missing: %s", syntaxes["non_json"])
	case len(args) > most:
		return nil, d.Errf("too many arguments: %s; what has blanks needs quotes", syntaxes["non_json"])
	}
	if least == 2 {
		code, err := strconv.Atoi(args[1])
		if err != nil {
			return nil, d.Errf("non_json: the close code %q is not a number", args[1])
		}
		n.Close = &otherwise.Close{Code: code, Reason: strings.Join(args[2:], "")}
	}
	if err := n.validate(); err != nil {
		return nil, d.WrapErr(err)
	}
	return n, nil
}
