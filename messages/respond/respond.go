// Package respond is the message handler respond, which answers messages without the
// upstream.
package respond

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/wsgateway/caddy-ws-gateway/messages"
	"github.com/wsgateway/caddy-ws-gateway/messages/internal/expression"
)

func init() {
	caddy.RegisterModule(Respond{})
}

// Respond answers the messages that it is for, such as an application's own pings: whoever
// sent the message gets the answer, and the other side hears of neither. Other messages
// pass.
type Respond struct {
	// The text of the messages that are answered, exactly; binary messages are not. Either
	// this or `expression` must be there, and not both.
	Text string `json:"text,omitempty"`

	// The condition on the messages that are answered, texts and binary messages, as the
	// handler `filter` has it.
	Expression string `json:"expression,omitempty"`

	// The answer, a message of the same type as the one it answers. It must not be empty.
	// Placeholders are those of the request that opened the connection, `{time.now}` and
	// its kin, and `{msg.text}`, `{msg.size}`, `{msg.type}` and `{msg.direction}`; another
	// one that begins with `msg.` is an error.
	Answer string `json:"answer,omitempty"`

	running
}

// running is what Provision makes of a Respond.
type running struct {
	match  *expression.Expression // nil where it is a text
	answer *messages.Template
}

// CaddyModule returns the Caddy module information.
func (Respond) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.ws_gateway.messages.respond",
		New: func() caddy.Module { return new(Respond) },
	}
}

// Provision compiles the expression and the answer.
func (r *Respond) Provision(caddy.Context) error {
	switch {
	case (r.Text == "") == (r.Expression == ""):
		return errors.New("respond: say which messages are answered, by either text or expression")
	case r.Answer == "":
		return errors.New("respond: the answer is missing")
	}
	r.answer = messages.ParseTemplate(r.Answer)
	if err := r.answer.Validate(); err != nil {
		return fmt.Errorf("respond: the answer: %w", err)
	}
	if r.Expression == "" {
		return nil
	}
	var err error
	if r.match, err = expression.Compile(r.Expression); err != nil {
		return fmt.Errorf("respond: %w", err)
	}
	return nil
}

// UnmarshalCaddyfile parses
//
//	respond <match> <answer>
//
// The match is an expression if there is msg. in it, and else the text of the message;
// what could be either is an error.
func (r *Respond) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // respond
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Errf("respond takes two arguments, got %d: respond <match> <answer>; what has blanks needs quotes", len(args))
	}
	if d.Next() {
		return d.Err("a block is not expected here: respond <match> <answer>")
	}
	switch match := args[0]; {
	case strings.Contains(match, "msg."):
		r.Expression = match
	case isCondition(match):
		return d.Errf("the match %s could be an expression, and would be taken as the text of a message, since there is no msg. in it: "+
			"write (%[1]s) && msg.size >= 0 for an expression, or msg.text == %q for the text", match, match)
	default:
		r.Text = match
	}
	r.Answer = args[1]
	if err := r.Provision(caddy.Context{}); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// isCondition reports whether a text may be meant as an expression: it is one, of type
// bool, about something.
func isCondition(text string) bool {
	e, err := expression.Compile(text)
	return err == nil && e.HasVariables()
}

// HandleMessage answers m if it matches, and else passes it.
func (r *Respond) HandleMessage(m *messages.Message) (messages.Verdict, error) {
	matches := m.Type == messages.Text && string(m.Payload) == r.Text
	if r.match != nil {
		var err error
		if matches, err = r.match.Holds(m); err != nil {
			return messages.Verdict{}, fmt.Errorf("respond: %w", err)
		}
	}
	if !matches {
		return messages.Pass, nil
	}
	answer := r.answer.Expand(m)
	if m.Type == messages.Text {
		answer = strings.ToValidUTF8(answer, "\uFFFD") // headers of the request may be what they like
	}
	return messages.Reply(m.Type, []byte(answer)), nil
}

// Placeholders are those that the request has to tell.
func (r *Respond) Placeholders() []string {
	names := r.answer.Placeholders()
	if r.match != nil {
		names = append(names, r.match.Placeholders()...)
	}
	return names
}

// Interface guards.
var (
	_ caddy.Provisioner        = (*Respond)(nil)
	_ caddyfile.Unmarshaler    = (*Respond)(nil)
	_ messages.Handler         = (*Respond)(nil)
	_ messages.PlaceholderUser = (*Respond)(nil)
)
