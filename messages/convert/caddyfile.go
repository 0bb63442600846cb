package convert

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/wsgateway/caddy-ws-gateway/messages/otherwise"
)

// UnmarshalCaddyfile parses
//
//	convert <format of the client> <format of the upstream> [other pass] [else …]
func (c *Convert) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // convert
	if !d.Args(&c.From, &c.To) {
		return d.Err("convert needs two formats, of the client and of the upstream: convert json msgpack")
	}
	for d.NextArg() {
		switch word := d.Val(); word {
		case "other":
			if c.Other != "" {
				return d.Err("convert: other is there twice")
			}
			if !d.Args(&c.Other) {
				return d.Err("convert: other needs a word: other pass")
			}
		case "else":
			refused, err := otherwise.Parse(d)
			if err != nil {
				return err
			}
			c.Else = refused
		default:
			return d.Errf("convert: unknown word %q after the formats: allowed are other pass, else …", word)
		}
	}
	if d.NextBlock(d.Nesting()) {
		return d.Err("convert has no block: other and else follow on its line")
	}
	if err := c.Validate(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

var _ caddyfile.Unmarshaler = (*Convert)(nil)
