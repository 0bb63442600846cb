package json

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"unicode/utf8"

	"github.com/wsgateway/caddy-ws-gateway/messages"
	"github.com/wsgateway/caddy-ws-gateway/messages/internal/jsontext"
)

// value is JSON with placeholders in its strings.
type value []piece

// piece is JSON as it is, or else what is in a string.
type piece struct {
	raw    []byte
	string *messages.Template
}

// parseValue parses JSON. The names in objects have no placeholders, so that no user can
// be called what another member is called.
func parseValue(raw []byte) (value, error) {
	if len(raw) == 0 {
		return nil, errors.New("the value is missing: null is one")
	}
	if !jsontext.Valid(raw) || !utf8.Valid(raw) {
		return nil, errors.New("the value is not JSON")
	}
	var compact bytes.Buffer
	_ = json.Compact(&compact, raw) // it is valid
	text := compact.Bytes()
	var v value
	from := 0
	for at := 0; at < len(text); {
		if text[at] != '"' {
			at++
			continue
		}
		end := jsontext.SkipString(text, at)
		isName := end < len(text) && text[end] == ':'
		if !isName && bytes.IndexByte(text[at:end], '{') > 0 {
			var content string
			if err := json.Unmarshal(text[at:end], &content); err != nil {
				return nil, err
			}
			template := messages.ParseTemplate(content)
			if err := template.Validate(); err != nil {
				return nil, err
			}
			v = append(v, piece{raw: text[from:at]}, piece{string: template})
			from = end
		}
		at = end
	}
	return append(v, piece{raw: text[from:]}), nil
}

// appendTo appends the value for a message.
func (v value) appendTo(text []byte, m *messages.Message) []byte {
	for i := range v {
		if v[i].string != nil {
			text = appendString(text, v[i].string.Expand(m))
		} else {
			text = append(text, v[i].raw...)
		}
	}
	return text
}

func (v value) placeholders() []string {
	var names []string
	for i := range v {
		if v[i].string != nil {
			names = append(names, v[i].string.Placeholders()...)
		}
	}
	return names
}

// appendString appends a string, in quotes. What is not UTF-8 becomes U+FFFD.
func appendString(text []byte, s string) []byte {
	text = slices.Grow(text, len(s)+2)
	text = append(text, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			text = append(text, '\\', c)
		case c < 0x20:
			const digits = "0123456789abcdef"
			text = append(text, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		case c < utf8.RuneSelf:
			text = append(text, c)
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			text = utf8.AppendRune(text, r)
			i += n - 1
		}
		i++
	}
	return append(text, '"')
}
