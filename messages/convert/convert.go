// Package convert is the handler of messages that changes their format, between JSON,
// CBOR (RFC 8949) and MessagePack: text clients in front of binary backends, and the
// other way round.
//
// What a format cannot say is refused, and never approximated in silence. Keys stay in
// their order. This is what becomes of values:
//
//   - Integers stay integers. CBOR has those beyond 64 bits as tags 2 and 3, up to 1,024
//     bits; MessagePack has none, so they are refused. JSON has them as digits.
//   - A number that JSON spells with a fraction or an exponent is the float64 nearest to
//     it. Floats are written in the shortest form that is equal: of 16, 32 or 64 bits,
//     or as the fewest digits that mean the same float64. A whole float below 2^53 has
//     neither a fraction nor an exponent in JSON: 1.0 becomes 1.
//   - Negative zero stays. NaN and the infinities are refused where JSON is to be made.
//   - Byte strings become texts in base64url without padding (RFC 8949, section 6.1), in
//     JSON; the tags 21, 22 and 23 of CBOR choose base64url, base64 with padding, or
//     base16 for those in them. Texts stay texts: nothing becomes a byte string.
//   - Undefined, of CBOR, becomes null. Its other simple values are refused.
//   - Timestamps of MessagePack become texts as RFC 3339 has them, in UTC, in CBOR with
//     tag 0. Tags 0 and 1 of CBOR become timestamps of MessagePack. Years are 0 to 9999.
//   - Other tags of CBOR are dropped, and what they are around stays; but those without
//     which it means something else are refused (parts of numbers: 4, 5, 30, 264 to 270;
//     references: 6, 25, 29, 105 and 57337 to 57343), and so are other extension types of
//     MessagePack.
//   - Keys are texts. Integers become decimal digits as keys in JSON; between CBOR and
//     MessagePack, integers of 64 bits and byte strings stay as they are. Others are
//     refused.
//
// A message is one value. What follows it, equal keys in an object or a map (also those
// that have become equal), invalid UTF-8 in a text, half a surrogate pair, and nesting
// deeper than 512 are refused, in every format.
//
// Nothing is reserved for lengths that are only declared. A message grows to less than
// nine times its size, which takes one made of nothing but floats of 16 bits.
package convert

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/messages"
	"github.com/wsgateway/caddy-ws-gateway/messages/otherwise"
)

func init() { caddy.RegisterModule(new(Convert)) }

// Convert changes the format of messages. JSON is in texts, and CBOR and MessagePack are
// in binary messages: what is converted gets the type of its new format.
type Convert struct {
	// The format of the client: `json`, `cbor` or `msgpack`. It must be there. Where the
	// handlers are for one direction only, the format that messages of it have.
	From string `json:"from"`

	// The format of the upstream, which must be there and be another one. Where the
	// handlers are for one direction only, the format that messages of it get.
	To string `json:"to"`

	// What becomes of binary messages where JSON is to be converted, and of texts where
	// CBOR or MessagePack is: `pass` lets them go on unchanged; any other word is an
	// error. Default: they are refused, as what is not valid in its format. Beware that
	// whoever gets a message that has passed may take it for one of the format that others
	// are converted to.
	Other string `json:"other,omitempty"`

	// What becomes of messages that cannot be converted: those that are not valid in
	// their format, and those of which the other format cannot say something. Default:
	// the connection is closed with 1007 and a reason that says what is wrong, or with
	// 1003 for a message of the wrong type. Placeholders are also `{msg.error}`, which is
	// that reason.
	Else *otherwise.Otherwise `json:"else,omitempty"`

	running
}

// running is what a provisioned Convert goes by.
type running struct {
	client, upstream *format
	both             bool
}

// CaddyModule returns the Caddy module information.
func (*Convert) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.ws_gateway.messages.convert",
		New: func() caddy.Module { return new(Convert) },
	}
}

// Provision finds the formats.
func (c *Convert) Provision(caddy.Context) error {
	if err := c.Validate(); err != nil {
		return err
	}
	c.client, c.upstream = formats[c.From], formats[c.To]
	c.both = true
	c.Else.Provision()
	return nil
}

// Validate returns an error for a conversion that is none. It may be called before
// Provision.
func (c *Convert) Validate() error {
	for _, f := range []struct{ field, name string }{{"from", c.From}, {"to", c.To}} {
		switch {
		case f.name == "":
			return fmt.Errorf("convert: %s is missing: allowed are %s", f.field, strings.Join(names, ", "))
		case formats[f.name] == nil:
			return fmt.Errorf("convert: %s: unknown format %q: allowed are %s", f.field, f.name, strings.Join(names, ", "))
		}
	}
	if c.From == c.To {
		return fmt.Errorf("convert %s %s changes nothing: name two formats, of the client and of the upstream", c.From, c.To)
	}
	if c.Other != "" && c.Other != otherPass {
		return fmt.Errorf("convert: other: unknown word %q: allowed is %s", c.Other, otherPass)
	}
	if err := c.Else.Validate(); err != nil {
		return fmt.Errorf("convert: %w", err)
	}
	return nil
}

const otherPass = "pass"

// SetDirections implements [messages.Directed].
func (c *Convert) SetDirections(fromClient, fromUpstream bool) error {
	c.both = fromClient && fromUpstream
	return nil
}

// Placeholders implements [messages.PlaceholderUser].
func (c *Convert) Placeholders() []string { return c.Else.Placeholders() }

// HandleMessage implements [messages.Handler].
func (c *Convert) HandleMessage(m *messages.Message) (messages.Verdict, error) {
	from, to := c.client, c.upstream
	if c.both && m.Direction == messages.FromUpstream {
		from, to = to, from
	}
	if m.Type != from.in {
		if c.Other == otherPass {
			return messages.Pass, nil
		}
		return c.refuse(m, 1003, "not a "+from.in.String()+" message"), nil
	}
	converted, err := convert(m.Payload, from, to, m.Deadline())
	if err != nil {
		if f, ok := errors.AsType[fault](err); ok {
			return c.refuse(m, 1007, string(f)), nil
		}
		return messages.Verdict{}, err
	}
	m.Type, m.Payload = to.in, converted
	return messages.Pass, nil
}

// refuse is what becomes of m.
func (c *Convert) refuse(m *messages.Message, code int, reason string) messages.Verdict {
	m.Fault = messages.Fault{Text: reason}
	if c.Else == nil {
		return messages.Close(code, reason)
	}
	return c.Else.Verdict(m)
}

// fault is why a message cannot be converted, as a close frame has it.
type fault string

// Error returns the fault.
func (f fault) Error() string { return string(f) }

// What cannot be converted, whatever its format is.
const (
	errDeep      fault = "not convertible: nested too deep"
	errDuplicate fault = "not convertible: duplicate key"
	errKey       fault = "not convertible: a key that is no text"
	errNumber    fault = "not convertible: number too large"
	errNaN       fault = "not convertible: NaN or infinity"
	errTime      fault = "not convertible: timestamp out of range"
)

// Interface guards
var (
	_ caddy.Provisioner        = (*Convert)(nil)
	_ caddy.Validator          = (*Convert)(nil)
	_ messages.Handler         = (*Convert)(nil)
	_ messages.Directed        = (*Convert)(nil)
	_ messages.PlaceholderUser = (*Convert)(nil)
)
