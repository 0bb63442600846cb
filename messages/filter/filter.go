// Package filter is the message handler filter, which keeps the messages of which an
// expression is true.
package filter

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/wsgateway/caddy-ws-gateway/messages"
	"github.com/wsgateway/caddy-ws-gateway/messages/internal/expression"
	"github.com/wsgateway/caddy-ws-gateway/messages/otherwise"
)

func init() {
	caddy.RegisterModule(Filter{})
}

// Filter passes the messages on of which an expression is true. What becomes of the
// others, `else` says.
type Filter struct {
	// The condition, in the Common Expression Language (CEL). It must be there, and of type
	// bool. Variables:
	//
	// - `msg.text`: the text; "" for a binary message
	// - `msg.size`: the size of the payload in bytes
	// - `msg.type`: "text" or "binary"
	// - `msg.json`: what is in the message, text or binary, if it is JSON; else null. Of
	//   several members of one name in an object, the last one counts
	// - `msg.binary`: the payload as bytes, of either type
	// - `direction`: "from_client" or "from_upstream"
	// - `user`: the user's ID; "" where nobody was authenticated
	// - `connection`, `gateway`, `upstream`, `remote_ip`: as in logs
	//
	// Placeholders of the request that opened the connection are strings, and stand
	// without quotes: `{http.request.header.X} == "yes"`.
	//
	// The expression counts as false where it has no value: a field that is not there
	// (ask with `has(msg.json.x)` or `msg.json.?x.orValue("")`), types that cannot be
	// compared, a text that is no number. An expression that goes over lists or maps
	// ends the connection (1011) where it costs more than 5,000,000 steps, or the time
	// for the message is over. What functions take may be limited to literals, where a
	// client could make them take long: `indexOf`, `lastIndexOf`, `matches`, `replace`.
	// The regular expression of `matches` may have 1,000 instructions; `{1,500}` is 500
	// copies of what it repeats.
	Expression string `json:"expression,omitempty"`

	// What becomes of other messages: exactly one of `drop`, `close` and `reply`. Default:
	// they are dropped.
	Else *otherwise.Otherwise `json:"else,omitempty"`

	keep *expression.Expression
}

// CaddyModule returns the Caddy module information.
func (Filter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.ws_gateway.messages.filter",
		New: func() caddy.Module { return new(Filter) },
	}
}

// Provision compiles the expression.
func (f *Filter) Provision(caddy.Context) error {
	if err := f.compile(); err != nil {
		return err
	}
	f.Else.Provision()
	return nil
}

func (f *Filter) compile() (err error) {
	f.keep, err = expression.Compile(f.Expression)
	if err != nil {
		return fmt.Errorf("filter: %w", err)
	}
	return nil
}

// Validate returns an error where the message cannot be treated as `else` says.
func (f *Filter) Validate() error {
	if err := f.Else.Validate(); err != nil {
		return fmt.Errorf("filter: %w", err)
	}
	return nil
}

// UnmarshalCaddyfile parses
//
//	filter <expression> [else drop | else close <code> [<reason>] | else reply <text>]
//
// The expression is one token, in quotes or backquotes, or all tokens up to else.
func (f *Filter) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // filter
	var cooked, raw []string
	for d.NextArg() {
		if d.Val() == "else" && !d.Token().Quoted() {
			parsed, err := otherwise.Parse(d)
			if err != nil {
				return err
			}
			f.Else = parsed
			break
		}
		cooked, raw = append(cooked, d.Val()), append(raw, rawToken(d))
	}
	switch len(cooked) {
	case 0:
		return d.Err("filter needs an expression: filter <expression> [else …]")
	case 1:
		f.Expression = cooked[0]
	default:
		f.Expression = strings.Join(raw, " ")
	}
	if err := f.compile(); err != nil {
		return d.WrapErr(err)
	}
	if d.Next() {
		return d.Err("filter takes no block, and one expression: put it in backquotes where it goes over several lines")
	}
	return nil
}

// rawToken is the token that d stands on as it is in an expression of several: what was
// in quotes is a string there, too, and what was in backquotes a string as it stands.
func rawToken(d *caddyfile.Dispenser) string {
	switch raw := d.ValRaw(); {
	case raw == d.Val():
		return raw
	case raw[0] == '`':
		return strconv.Quote(d.Val())
	}
	return `"` + strings.ReplaceAll(d.Val(), `"`, `\"`) + `"`
}

// HandleMessage passes m if the expression is true.
func (f *Filter) HandleMessage(m *messages.Message) (messages.Verdict, error) {
	keep, err := f.keep.Holds(m)
	switch {
	case err != nil:
		return messages.Verdict{}, fmt.Errorf("filter: %w", err)
	case keep:
		return messages.Pass, nil
	}
	return f.Else.Verdict(m), nil
}

// IgnoresPayload reports whether neither the expression nor what becomes of other
// messages needs payloads.
func (f *Filter) IgnoresPayload() bool { return !f.keep.NeedsPayload() && !f.Else.NeedsPayload() }

// Placeholders are those that the request has to tell.
func (f *Filter) Placeholders() []string {
	return append(f.keep.Placeholders(), f.Else.Placeholders()...)
}

// Interface guards.
var (
	_ caddy.Provisioner        = (*Filter)(nil)
	_ caddy.Validator          = (*Filter)(nil)
	_ caddyfile.Unmarshaler    = (*Filter)(nil)
	_ messages.Handler         = (*Filter)(nil)
	_ messages.PayloadIgnorer  = (*Filter)(nil)
	_ messages.PlaceholderUser = (*Filter)(nil)
)
