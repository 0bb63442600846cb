package respond

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

var connection = messages.Connection{UserID: "alice"}.
	WithPlaceholders(map[string]string{"http.auth.user.id": "alice", "http.request.header.Bad": "\xff"})

func message(kind messages.Type, payload string) *messages.Message {
	m := &messages.Message{Conn: connection}
	m.Begin(messages.FromClient, kind, []byte(payload), time.Time{})
	return m
}

func TestCaddyfileOfRespond(t *testing.T) {
	for config, want := range map[string]Respond{
		`respond ping pong`:                         {Text: "ping", Answer: "pong"},
		`respond user u`:                            {Text: "user", Answer: "u"},
		`respond "user: ping" u`:                    {Text: "user: ping", Answer: "u"},
		`respond "1 < 2" true`:                      {Text: "1 < 2", Answer: "true"},
		`respond "the user == you" yes`:             {Text: "the user == you", Answer: "yes"},
		`respond true false`:                        {Text: "true", Answer: "false"},
		"respond `msg.text == \"user == ''\"` text": {Expression: `msg.text == "user == ''"`, Answer: "text"},
		"respond `{\"ping\":1}` ok":                 {Text: `{"ping":1}`, Answer: "ok"},
		`respond "msg.size == 1" ok`:                {Expression: `msg.size == 1`, Answer: "ok"},
	} {
		var r Respond
		if err := r.UnmarshalCaddyfile(caddyfile.NewTestDispenser(config)); err != nil {
			t.Errorf("%s: %v", config, err)
		}
		r.running = running{}
		if !reflect.DeepEqual(r, want) {
			t.Errorf("%s: got %+v", config, r)
		}
	}
}

func TestCaddyfileOfRespondSaysWhatIsWrong(t *testing.T) {
	for config, want := range map[string]string{
		`respond`:                    "respond takes two arguments, got 0: respond <match> <answer>",
		`respond ping`:               "got 1",
		`respond msg.size == 1 pong`: "got 4: respond <match> <answer>; what has blanks needs quotes",
		`respond "" pong`:            "by either text or expression",
		`respond ping ""`:            "the answer is missing",
		`respond msg.ping pong`:      "column 1 of the expression: undeclared reference to 'msg'",
		`respond "user == 'a'" pong`: `the match user == 'a' could be an expression, and would be taken as the text of a message, since there is no msg. in it: write (user == 'a') && msg.size >= 0 for an expression, or msg.text == "user == 'a'" for the text`,
		`respond "direction != 'from_client' || user==''" pong`: "could be an expression",
		`respond user.startsWith('a') pong`:                     "could be an expression",
		`respond "{http.request.header.A} == 'b'" pong`:         "could be an expression",
		"respond ping pong {\n drop\n}":                         "a block is not expected here",
	} {
		var r Respond
		err := r.UnmarshalCaddyfile(caddyfile.NewTestDispenser("\n" + config))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Testfile:") {
			t.Errorf("%s: got %v, want %q and the line", config, err, want)
		}
	}
}

func provisioned(t *testing.T, config string) *Respond {
	t.Helper()
	r := new(Respond)
	if err := json.Unmarshal([]byte(config), r); err != nil {
		t.Fatal(err)
	}
	if err := r.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRespondAnswersWhatMatches(t *testing.T) {
	const byExpression = `{"expression":"msg.json.type == 'ping'","answer":"{\"type\":\"pong\",\"to\":\"{http.auth.user.id}\"}"}`
	for _, test := range []struct {
		config  string
		kind    messages.Type
		payload string
		want    messages.Verdict
	}{
		{`{"text":"ping","answer":"pong"}`, messages.Text, "ping", messages.Reply(messages.Text, []byte("pong"))},
		{`{"text":"ping","answer":"pong"}`, messages.Text, "ping ", messages.Pass},
		{`{"text":"ping","answer":"pong"}`, messages.Binary, "ping", messages.Pass},
		{`{"text":"ping","answer":"{msg.text}!"}`, messages.Text, "ping", messages.Reply(messages.Text, []byte("ping!"))},
		{byExpression, messages.Text, `{"type":"ping"}`, messages.Reply(messages.Text, []byte(`{"type":"pong","to":"alice"}`))},
		{byExpression, messages.Binary, `{"type":"ping"}`, messages.Reply(messages.Binary, []byte(`{"type":"pong","to":"alice"}`))},
		{byExpression, messages.Text, `{"type":"chat"}`, messages.Pass},
		{byExpression, messages.Text, `no JSON`, messages.Pass},
		{`{"text":"a","answer":"{http.request.header.Bad}"}`, messages.Text, "a", messages.Reply(messages.Text, []byte("\uFFFD"))},
	} {
		got, err := provisioned(t, test.config).HandleMessage(message(test.kind, test.payload))
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s of %q: got %+v, %v", test.config, test.payload, got, err)
		}
	}
}

func TestRespondRefusesWhatCannotWork(t *testing.T) {
	for config, want := range map[string]string{
		`{"answer":"a"}`: "respond: say which messages are answered",
		`{"text":"a","expression":"msg.size == 1","answer":"a"}`: "respond: say which messages are answered",
		`{"text":"a","answer":"{msg.user}"}`:                     "respond: the answer: the placeholder {msg.user} is unknown: there are {msg.text}",
		`{"text":"a"}`:                                           "respond: the answer is missing",
		`{"expression":"msg.","answer":"a"}`:                     "respond: column 5 of the expression: Syntax error",
		`{"expression":"msg.size","answer":"a"}`:                 "respond: the expression gives int",
	} {
		r := new(Respond)
		if err := json.Unmarshal([]byte(config), r); err != nil {
			t.Fatal(err)
		}
		if err := r.Provision(caddy.Context{}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v", config, err)
		}
	}
}

func TestRespondSaysWhatItNeeds(t *testing.T) {
	r := provisioned(t, `{"expression":"{http.b} == msg.text","answer":"{http.a} {time.now}"}`)
	if got := r.Placeholders(); !slices.Equal(got, []string{"http.a", "http.b"}) {
		t.Errorf("got %q", got)
	}
}

func TestRespondLeavesOtherMessagesAlone(t *testing.T) {
	r := provisioned(t, `{"text":"ping","answer":"pong"}`)
	m := message(messages.Text, strings.Repeat("p", 4<<10))
	least := math.Inf(1) // the race detector has pools forget some of what they are given
	for range 50 {
		least = min(least, testing.AllocsPerRun(2, func() { _, _ = r.HandleMessage(m) }))
	}
	if least > 0 {
		t.Errorf("%v allocations", least)
	}
}
