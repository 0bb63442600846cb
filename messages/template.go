package messages

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// Template is a text with placeholders: those of the request that opened the
// connection, {time.now} and its kin, and of the message {msg.text}, {msg.size},
// {msg.type} and {msg.direction}, and {msg.error} and {msg.error.path} where a handler
// says what is wrong with it. Braces around anything else, as JSON has them, stand for
// themselves.
type Template struct {
	literals []string // around the placeholders
	names    []string
}

// placeholder has a dot, as all of Caddy's have.
var placeholder = regexp.MustCompile(`\{([a-zA-Z0-9_-]+(?:\.[a-zA-Z0-9_:/-]+)+)\}`)

// ParseTemplate makes a template of a text.
func ParseTemplate(text string) *Template {
	t := new(Template)
	at := 0
	for _, found := range placeholder.FindAllStringSubmatchIndex(text, -1) {
		t.literals = append(t.literals, text[at:found[0]])
		t.names = append(t.names, text[found[2]:found[3]])
		at = found[1]
	}
	t.literals = append(t.literals, text[at:])
	return t
}

// ofMessage are the placeholders of messages.
var ofMessage = []string{"msg.text", "msg.size", "msg.type", "msg.direction", "msg.error", "msg.error.path"}

// Validate returns an error where a placeholder begins with msg. and is not one of those
// of messages. Whether a request knows the others is only seen once there is one.
func (t *Template) Validate() error {
	for _, name := range t.names {
		if strings.HasPrefix(name, "msg.") && !slices.Contains(ofMessage, name) {
			return fmt.Errorf("the placeholder {%s} is unknown: there are {%s}", name, strings.Join(ofMessage, "}, {"))
		}
	}
	return nil
}

// Least is how many bytes the text has where all placeholders are empty.
func (t *Template) Least() int {
	n := 0
	for _, literal := range t.literals {
		n += len(literal)
	}
	return n
}

// Placeholders are the names of the placeholders that the request has to tell, as
// [PlaceholderUser] returns them.
func (t *Template) Placeholders() []string {
	return slices.DeleteFunc(slices.Clone(t.names), func(name string) bool {
		return strings.HasPrefix(name, "msg.") || isTime(name)
	})
}

// Expand returns the text with the values of the placeholders.
func (t *Template) Expand(m *Message) string {
	if len(t.names) == 0 {
		return t.literals[0]
	}
	var b strings.Builder
	for i, name := range t.names {
		b.WriteString(t.literals[i])
		b.WriteString(Value(m, name))
	}
	b.WriteString(t.literals[len(t.names)])
	return b.String()
}

// Value returns what a placeholder, without its braces, is for a message.
func Value(m *Message, name string) string {
	switch name {
	case "msg.text":
		if m.Type == Text {
			return string(m.Payload)
		}
		return ""
	case "msg.size":
		return strconv.Itoa(m.Size())
	case "msg.type":
		return m.Type.String()
	case "msg.direction":
		return m.Direction.String()
	case "msg.error":
		return m.Fault.Text
	case "msg.error.path":
		return m.Fault.Path
	}
	if isTime(name) {
		value, _ := clock.GetString(name)
		return value
	}
	return m.Conn.Placeholder(name)
}

func isTime(name string) bool { return strings.HasPrefix(name, "time.") }

// clock knows what does not depend on a request.
var clock = caddy.NewReplacer()
