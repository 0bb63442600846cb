// Package schema is a handler of messages that holds them against a JSON Schema.
package schema

import (
	"bytes"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/wsgateway/caddy-ws-gateway/messages"
	"github.com/wsgateway/caddy-ws-gateway/messages/otherwise"
)

func init() { caddy.RegisterModule(Schema{}) }

// Schema lets only messages pass that are JSON and valid against a JSON Schema: of draft
// 2020-12, or of the one that `$schema` names (2019-09, 7, 6 or 4). Texts and binary
// messages are treated alike.
//
// JSON is refused as well if a name stands twice in an object, if a string has half a
// surrogate pair (`"\ud800"`), if it is nested more than 1,000 levels deep, or if a number
// has more than 1,000 digits, written without an exponent.
//
// Of messages larger than 64 KiB, as many are looked at at the same time as there are
// processors for the gateway, for all schemas together: their values take up to 70 times
// the memory of the payload. Others wait, and one whose budget ends before its turn comes
// ends the connection (1011).
type Schema struct {
	// Path of the schema file. It must be there. Relative paths are relative to the working directory.
	// References to other files (`$ref`) are relative to the file they stand in; those
	// to anything else are an error. All are read when the configuration is loaded.
	File string `json:"file"`

	// Whether `format` is checked. In drafts up to 7 it always is; from 2019-09 on it is
	// a comment otherwise. Default: false.
	AssertFormat bool `json:"assert_format,omitempty"`

	// Whether binary messages pass without being looked at. Default: false, where they must
	// be valid as texts must.
	PassBinary bool `json:"pass_binary,omitempty"`

	// What becomes of a message that is not JSON or not valid. Placeholders are also
	// `{msg.error}`, which says what is wrong and where in at most 123 bytes, and
	// `{msg.error.path}`, the place alone as a JSON pointer. Neither tells values, and
	// both may stand in a JSON string. Replies are texts. Default: close with code 1007
	// and `{msg.error}`.
	Else *otherwise.Otherwise `json:"else,omitempty"`

	checkers *checkers
}

// CaddyModule implements caddy.Module.
func (Schema) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.ws_gateway.messages.schema",
		New: func() caddy.Module { return new(Schema) },
	}
}

// Provision reads and compiles the schema.
func (s *Schema) Provision(caddy.Context) error {
	checkers, err := newCheckers(s.File, s.AssertFormat)
	if err != nil {
		return fmt.Errorf("file: schema %q: %w", s.File, err)
	}
	s.checkers = checkers
	s.Else.Provision()
	return nil
}

// Validate implements caddy.Validator.
func (s *Schema) Validate() error { return s.Else.Validate() }

// Placeholders implements messages.PlaceholderUser.
func (s *Schema) Placeholders() []string { return s.Else.Placeholders() }

// HandleMessage passes m if it is valid. It fails if that is not known by the deadline.
func (s *Schema) HandleMessage(m *messages.Message) (messages.Verdict, error) {
	if s.PassBinary && m.Type == messages.Binary {
		return messages.Pass, nil
	}
	fault, err := s.checkers.check(m.Payload, m.Deadline())
	if err != nil || fault == nil {
		return messages.Pass, err
	}
	m.Fault = *fault
	if s.Else == nil {
		return messages.Close(1007, fault.Text), nil
	}
	verdict := s.Else.Verdict(m)
	if verdict.Kind == messages.KindReply && verdict.Type == messages.Binary {
		verdict = messages.Reply(messages.Text, bytes.ToValidUTF8(verdict.Payload, []byte("\uFFFD")))
	}
	return verdict, nil
}

// check returns what is wrong with a message, nil if nothing is.
func (c *checkers) check(payload []byte, deadline time.Time) (*messages.Fault, error) {
	if len(payload) > large {
		if err := c.slots.take(deadline); err != nil {
			return nil, err
		}
		defer c.slots.free()
	}
	value, depth, syntax := decode(payload)
	if syntax != nil {
		found := fault(syntax.pointer(), syntax.Error())
		return &found, nil
	}
	checker, err := c.get()
	if err != nil {
		return nil, err
	}
	defer c.put(checker)
	return checker.check(value, depth, deadline)
}

// Interface guards.
var (
	_ caddy.Provisioner        = (*Schema)(nil)
	_ caddy.Validator          = (*Schema)(nil)
	_ caddyfile.Unmarshaler    = (*Schema)(nil)
	_ messages.Handler         = (*Schema)(nil)
	_ messages.PlaceholderUser = (*Schema)(nil)
)
