package schema

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/wsgateway/caddy-ws-gateway/messages/otherwise"
)

const usage = "schema <file> [ { else ...; assert_format; pass_binary } ]"

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	schema <file> {
//		else drop|close <code> [<reason>]|reply <text>
//		assert_format
//		pass_binary
//	}
//
// The schema is read and compiled, so that what is wrong with it names the line.
func (s *Schema) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	switch args := d.RemainingArgs(); {
	case len(args) == 0:
		return d.Errf("the schema file is missing: %s", usage)
	case len(args) > 1 && args[1] == "else":
		return d.Errf("else stands in the block of schema: %s", usage)
	case len(args) > 1:
		return d.Errf("too many arguments: %s", usage)
	default:
		s.File = args[0]
	}
	for d.NextBlock(0) {
		if err := s.unmarshalWord(d); err != nil {
			return err
		}
	}
	d.Reset()
	d.Next() // what is wrong with the file is not about the last line of the block
	if _, err := newCheckers(s.File, s.AssertFormat); err != nil {
		return d.Errf("schema %q: %w", s.File, err)
	}
	return nil
}

func (s *Schema) unmarshalWord(d *caddyfile.Dispenser) (err error) {
	word := d.Val()
	switch word {
	case "else":
		if s.Else != nil {
			return d.Err("else is already set: it may stand once")
		}
		s.Else, err = otherwise.Parse(d)
		return err
	case "assert_format":
		return flag(d, &s.AssertFormat)
	case "pass_binary":
		return flag(d, &s.PassBinary)
	}
	return d.Errf("unknown word %q in schema: allowed are assert_format, else, pass_binary", word)
}

// flag sets what the word that d stands on is for.
func flag(d *caddyfile.Dispenser, to *bool) error {
	word := d.Val()
	switch {
	case *to:
		return d.Errf("%s is already set: it may stand once", word)
	case d.NextArg():
		return d.Errf("too many arguments: %s takes none", word)
	}
	*to = true
	return nil
}
