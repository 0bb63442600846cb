// Package json has the handler of messages http.ws_gateway.messages.json, which changes
// messages that are JSON.
//
// It edits the text of a message, and does not decode it: numbers keep their spelling,
// members their order, and every byte outside of what is edited stays, as does every byte
// of a message in which there is nothing to edit. That is done here and not with
// github.com/tidwall/sjson, which edits only the first of several members of a name (so
// that {"role":1,"role":2} without role is {"role":2}), and edits what is no JSON.
package json

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/wsgateway/caddy-ws-gateway/messages"
	"github.com/wsgateway/caddy-ws-gateway/messages/internal/jsontext"
	"github.com/wsgateway/caddy-ws-gateway/messages/otherwise"
)

func init() { caddy.RegisterModule(Edits{}) }

// Edits changes messages that are JSON (RFC 8259), texts and binary messages alike: it
// sets, deletes, renames and requires members of objects. The type of a message stays.
//
// Paths have dots between names, as in `user.id`. A backslash makes the character behind
// it one of the name: `a\.b`. A number is the index of an element where there is an array
// (`items.0.name`), and a name where there is an object; a name with a backslash is never
// an index. `-1` is a new element at the end, for `set` and the second path of `rename`.
// `*` is every element and member, for `delete`. A path has at most 64 names. Names are
// compared as what they stand for, whatever escapes they are spelled with, and case counts.
//
// Of several members of one name in an object, which parsers take in different ways,
// `delete` takes out all, `set` and `rename` leave the last one along the whole path, and
// `require` looks at the last one.
type Edits struct {
	// What is done, in this order. There must be one edit.
	Edits []Edit `json:"edits"`

	// What becomes of a message that is no JSON: also one that is nested more than 10,000
	// deep, has a byte order mark or several documents, or is not UTF-8. Default: it passes;
	// with a `require`, what `else` says.
	NonJSON *NonJSON `json:"non_json,omitempty"`

	// What becomes of a message that misses what is required, or in which something cannot
	// be set or renamed, since there is neither an object nor null where the path needs
	// one, nor an element at the index. Default: it is dropped.
	Else *otherwise.Otherwise `json:"else,omitempty"`

	*running
}

// NonJSON is what becomes of messages that are no JSON: exactly one of `pass`, `drop` and
// `close`.
type NonJSON struct {
	// Lets the message pass as it is. Default: false.
	Pass bool `json:"pass,omitempty"`

	// Drops the message: neither side hears of it. Default: false.
	Drop bool `json:"drop,omitempty"`

	// Ends the connection with a close code. Default: the connection goes on.
	Close *otherwise.Close `json:"close,omitempty"`
}

// running is what Provision makes of Edits.
type running struct {
	edits   []edit
	others  bool // whether what is no JSON passes
	nonJSON *otherwise.Otherwise
}

// validate returns an error unless there is exactly one of pass, drop and close. The
// NonJSON may be nil.
func (n *NonJSON) validate() error {
	switch {
	case n == nil:
		return nil
	case n.Pass && !n.Drop && n.Close == nil:
		return nil
	case n.Pass, n.Drop == (n.Close != nil):
		return errors.New("non_json: say exactly one of pass, drop and close")
	}
	if err := (&otherwise.Otherwise{Drop: n.Drop, Close: n.Close}).Validate(); err != nil {
		return errors.New("non_json: " + strings.TrimPrefix(err.Error(), "else: "))
	}
	return nil
}

// CaddyModule returns the module information.
func (Edits) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.ws_gateway.messages.json",
		New: func() caddy.Module { return new(Edits) },
	}
}

// Provision compiles the edits.
func (e *Edits) Provision(caddy.Context) error {
	running, err := e.compile()
	if err != nil {
		return err
	}
	e.running = running
	e.Else.Provision()
	running.nonJSON.Provision()
	return nil
}

// Validate reports what is wrong with the configuration. It may be called before
// Provision.
func (e *Edits) Validate() error {
	_, err := e.compile()
	return err
}

func (e *Edits) compile() (*running, error) {
	if len(e.Edits) == 0 {
		return nil, errors.New("json: there are no edits: add set, delete, rename or require")
	}
	r := new(running)
	fallible, requires := false, false
	for i := range e.Edits {
		compiled, err := e.Edits[i].compile()
		if err != nil {
			return nil, fmt.Errorf("json: %w", err)
		}
		r.edits = append(r.edits, compiled)
		fallible = fallible || compiled.kind != deletes
		requires = requires || compiled.kind == requiring
	}
	if e.Else != nil && !fallible {
		return nil, errors.New("json: else is for set, rename and require, of which there is none")
	}
	if err := e.Else.Validate(); err != nil {
		return nil, fmt.Errorf("json: %w", err)
	}
	if err := e.NonJSON.validate(); err != nil {
		return nil, fmt.Errorf("json: %w", err)
	}
	switch n := e.NonJSON; {
	case n != nil:
		r.others, r.nonJSON = n.Pass, &otherwise.Otherwise{Drop: n.Drop, Close: n.Close}
	case requires:
		r.nonJSON = e.Else
	default:
		r.others = true
	}
	return r, nil
}

// Placeholders are those that the request has to tell.
func (e *Edits) Placeholders() []string {
	names := slices.Concat(e.Else.Placeholders(), e.nonJSON.Placeholders())
	for i := range e.edits {
		names = append(names, e.edits[i].value.placeholders()...)
	}
	return names
}

// documents are those that are not in use.
var documents = sync.Pool{New: func() any { return new(document) }}

// HandleMessage makes the edits.
func (e *Edits) HandleMessage(m *messages.Message) (messages.Verdict, error) {
	if m.Type == messages.Binary && !utf8.Valid(m.Payload) || !jsontext.Valid(m.Payload) {
		if e.others {
			return messages.Pass, nil
		}
		return e.nonJSON.Verdict(m), nil
	}
	d := documents.Get().(*document)
	defer d.free()
	d.text = m.Payload
	for i := range e.edits {
		ok := e.edits[i].apply(d, m)
		m.Payload = d.text // for placeholders
		if !ok {
			return e.Else.Verdict(m), nil
		}
	}
	return messages.Pass, nil
}

// free lets go of the text, and keeps the scratch unless it is large.
func (d *document) free() {
	const most = 64 << 10
	scratch := d.scratch
	if cap(scratch) > most {
		scratch = nil
	}
	*d = document{scratch: scratch[:0]}
	documents.Put(d)
}

var (
	_ caddy.Provisioner        = (*Edits)(nil)
	_ caddy.Validator          = (*Edits)(nil)
	_ caddyfile.Unmarshaler    = (*Edits)(nil)
	_ messages.Handler         = (*Edits)(nil)
	_ messages.PlaceholderUser = (*Edits)(nil)
)
