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
