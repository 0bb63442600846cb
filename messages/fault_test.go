package messages

import (
	"testing"
	"time"
)

func TestTemplateTellsTheFault(t *testing.T) {
	t.Parallel()
	template := ParseTemplate(`{"error":"{msg.error}","at":"{msg.error.path}"}`)
	if names := template.Placeholders(); len(names) != 0 {
		t.Errorf("the request is asked for %q", names)
	}
	m := new(Message)
	m.Begin(FromClient, Text, []byte("{}"), time.Time{})
	m.Fault = Fault{Text: "/a: is missing", Path: "/a"}
	if got, want := template.Expand(m), `{"error":"/a: is missing","at":"/a"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	m.Begin(FromClient, Text, []byte("{}"), time.Time{})
	if got, want := template.Expand(m), `{"error":"","at":""}`; got != want {
		t.Errorf("the next message: got %s, want %s", got, want)
	}
}

func TestTemplateKnowsThePlaceholdersOfMessages(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{msg.text}{msg.size}{msg.type}{msg.direction}{msg.error}{msg.error.path}": "",
		"{msg} {msg.} {http.auth.user.id} {time.now} {msgs.text} msg.x":            "",
		`{"msg.x":1}`: "",
		"a {msg.x} b": "the placeholder {msg.x} is unknown: there are {msg.text}, {msg.size}, {msg.type}, {msg.direction}, {msg.error}, {msg.error.path}",
	} {
		err := ParseTemplate(text).Validate()
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s: got %v", text, err)
		}
	}
}
