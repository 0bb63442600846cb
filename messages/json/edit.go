package json

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// Edit is one thing to do: exactly one of `set`, `delete`, `rename` and `require`.
type Edit struct {
	// The path of what is set to `value`. Objects that are missing on the way are made, also
	// where there is null; for `-1` an array is.
	Set string `json:"set,omitempty"`

	// What is set: any JSON, also null. It must be there with `set`. Its strings, though not
	// the names in objects, may have placeholders: those of the request that opened the
	// connection, `{time.now}` and its kin, and `{msg.text}`, `{msg.size}`, `{msg.type}` and
	// `{msg.direction}`; an unknown one that begins with `msg.` is an error. Whatever they hold
	// stays within the string.
	Value json.RawMessage `json:"value,omitempty"`

	// The path of what is taken out, if it is there.
	Delete string `json:"delete,omitempty"`

	// The path of what is moved to the path `to`, if it is there. It takes the place of
	// what is there. Within an object it stays where it stands.
	Rename string `json:"rename,omitempty"`

	// The path where `rename` moves something, which is another one. It must be there with
	// `rename`. Objects that are missing on the way are made.
	To string `json:"to,omitempty"`

	// The path of what must be there; null will do. What becomes of a message without
	// it, `else` says.
	Require string `json:"require,omitempty"`
}

// edit is what an Edit is compiled to.
type edit struct {
	kind     editKind
	path, to path
	value    value
}

type editKind uint8

const (
	sets editKind = iota
	deletes
	renames
	requiring
)

func (e *Edit) compile() (edit, error) {
	words := [...]struct{ word, path string }{
		{"set", e.Set}, {"delete", e.Delete}, {"rename", e.Rename}, {"require", e.Require},
	}
	found, word, path := -1, "", ""
	for i, w := range words {
		if w.path == "" {
			continue
		}
		if found >= 0 {
			return edit{}, fmt.Errorf("%s and %s are in one edit: make them two", word, w.word)
		}
		found, word, path = i, w.word, w.path
	}
	switch {
	case found < 0:
		return edit{}, errors.New("an edit has no path: say one of set, delete, rename and require, with a path")
	case e.Value != nil && e.Set == "":
		return edit{}, fmt.Errorf("%s has a value, which is for set", word)
	case e.To != "" && e.Rename == "":
		return edit{}, fmt.Errorf("%s has the path to, which is for rename", word)
	}
	compiled := edit{kind: editKind(found)}
	err := compiled.parse(path, e.To, e.Value)
	if err != nil {
		err = fmt.Errorf("%s: %w", word, err)
	}
	return compiled, err
}

func (e *edit) parse(from, to string, value json.RawMessage) (err error) {
	if e.path, err = parsePath(from); err != nil {
		return err
	}
	if e.kind == sets {
		if e.value, err = parseValue(value); err != nil {
			return err
		}
	}
	if e.kind == renames {
		if e.to, err = parsePath(to); err != nil {
			return err
		}
		if from == to {
			return fmt.Errorf("%q is renamed to itself", from)
		}
	}
	switch {
	case e.kind != deletes && (e.path.has(every) || e.to.has(every)):
		return errors.New(`a path has the name *, which is for delete: write \* if it is one`)
	case e.kind != sets && e.path.has(appending):
		return fmt.Errorf(`the path %q has the index -1, which is a new element: write \-1 if it is a name`, from)
	}
	return nil
}

// apply makes the edit, and reports whether that can be done.
func (e *edit) apply(d *document, m *messages.Message) bool {
	switch e.kind {
	case sets:
		d.scratch = e.value.appendTo(d.scratch[:0], m)
		return d.set(e.path, d.scratch)
	case renames:
		return d.rename(e.path, e.to)
	case deletes:
		d.delete(e.path)
	case requiring:
		_, _, ok := d.get(e.path)
		return ok
	}
	return true
}
