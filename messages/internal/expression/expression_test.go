package expression

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

var connection = messages.Connection{
	ID: "c1", Gateway: "chat", UserID: "alice", RemoteIP: "192.0.2.1", Upstream: "10.0.0.1:8080",
}.WithPlaceholders(map[string]string{"http.request.header.X": "yes", "http.request.header.Room": "lobby"})

func message(kind messages.Type, payload string) *messages.Message {
	m := &messages.Message{Conn: connection}
	m.Begin(messages.FromClient, kind, []byte(payload), time.Time{})
	return m
}

func TestExpressionsKnowTheMessage(t *testing.T) {
	for _, test := range []struct {
		source string
		text   string
		want   bool
	}{
		{`msg.text == "hello"`, "hello", true},
		{`msg.text.startsWith("he") && msg.size == 5`, "hello", true},
		{`msg.text.lowerAscii().contains("ell")`, "HELLO", true},
		{`msg.text.matches("^h[a-z]+$")`, "hello", true},
		{`matches(msg.text, "^[0-9]+$")`, "hello", false},
		{`msg.text.replace("l", "L") == "heLLo"`, "hello", true},
		{`msg.type == "text" && direction == "from_client"`, "", true},
		{`size(msg.binary) == 6`, "héllo", true},
		{`msg.size > 4.5`, "hello", true},
		{`user == "alice" && connection == "c1" && gateway == "chat"`, "", true},
		{`upstream.endsWith(":8080") && remote_ip == "192.0.2.1"`, "", true},
		{`{http.request.header.X} == "yes"`, "", true},
		{`{http.request.header.X} + {http.request.header.Room} == "yeslobby"`, "", true},
		{`{http.request.header.X} == {http.request.header.X}`, "", true},
		{`{http.request.header.None} == ""`, "", true},
		{`int({time.now.unix}) > 1700000000`, "", true},
		{`{msg.text} == "hello" && {msg.direction} == "from_client"`, "hello", true},
		{`{"a.b": 1}["a.b"] == 1`, "", true},
		{`cel.bind(t, msg.text, t == "hello")`, "hello", true},
		{`math.greatest(msg.size, 3) == 5`, "hello", true},
		{`true`, "", true},
	} {
		holds(t, test.source, message(messages.Text, test.text), test.want)
	}
	holds(t, `msg.type == "binary" && msg.text == "" && msg.binary == b"\xff\x00"`, message(messages.Binary, "\xff\x00"), true)
	up := message(messages.Text, "")
	up.Direction = messages.FromUpstream
	holds(t, `direction == "from_upstream"`, up, true)
}

func holds(t *testing.T, source string, m *messages.Message, want bool) {
	t.Helper()
	e, err := Compile(source)
	if err != nil {
		t.Errorf("%s: %v", source, err)
		return
	}
	for range 2 { // what is pooled comes back clean
		if got, err := e.Holds(m); err != nil || got != want {
			t.Errorf("%s of %.40q: got %v, %v", source, m.Payload, got, err)
		}
	}
}

func TestWhatHasNoValueIsNotTrue(t *testing.T) {
	for _, test := range []struct {
		source string
		text   string
		want   bool
	}{
		{`msg.json.type == "debug"`, `{}`, false},
		{`msg.json.type != "debug"`, `{}`, false},
		{`msg.json.type != "debug"`, `no JSON`, false},
		{`msg.json.type != "debug"`, `[1]`, false},
		{`msg.json.a.b.c == 1`, `{"a":{}}`, false},
		{`msg.json.n > 5`, `{"n":"six"}`, false},
		{`msg.json[3] == 1`, `[1]`, false},
		{`int(msg.text) == 5`, `five`, false},
		{`msg.size / 0 == 1`, ``, false},
		{`!(msg.json.type == "debug")`, `{}`, false},
		// what has a value decides
		{`msg.json.type == "debug" || true`, `{}`, true},
		{`has(msg.json.type)`, `{}`, false},
		{`has(msg.json.type)`, `no JSON`, false},
		{`!has(msg.json.type) || msg.json.type != "debug"`, `{}`, true},
		{`!has(msg.json.type) || msg.json.type != "debug"`, `no JSON`, true},
		{`!has(msg.json.type) || msg.json.type != "debug"`, `{"type":"debug"}`, false},
		{`msg.json.?type.orValue("") != "debug"`, `{}`, true},
		{`msg.json.?type.orValue("") != "debug"`, `no JSON`, true},
		{`msg.json.?type.orValue("") != "debug"`, `{"type":"debug"}`, false},
		{`msg.json == null`, `no JSON`, true},
		{`msg.json == null`, `{}`, false},
	} {
		holds(t, test.source, message(messages.Text, test.text), test.want)
	}
}

func TestCompileSaysWhatIsWrong(t *testing.T) {
	for source, want := range map[string]string{
		``:                                    "the expression is empty",
		`msg.size >`:                          "column 11 of the expression: Syntax error",
		`msg.text = "a"`:                      "column 10 of the expression: Syntax error",
		`msg.txt == "a"`:                      "column 1 of the expression: undeclared reference to 'msg': there are msg.text, msg.size",
		`msg == null`:                         "undeclared reference to 'msg'",
		`true && usr == "a"`:                  "column 9 of the expression: undeclared reference to 'usr'",
		`{http.request.header.X} == usr`:      "column 28 of the expression: undeclared reference to 'usr'",
		"true &&\n  usr == \"a\"":             "line 2, column 3 of the expression",
		`msg.size == "5"`:                     "column 10 of the expression: found no matching overload",
		`{http.request.header.X} == 5`:        "column 25 of the expression: found no matching overload",
		`msg.size`:                            "the expression gives int and not bool: compare it with something",
		`msg.json.ok`:                         "the expression gives dyn and not bool",
		`msg.text.matches("(")`:               "column 18 of the expression: invalid matches argument",
		`msg.text.matches(msg.text)`:          "matches takes literals only",
		`matches(msg.text, user)`:             "matches takes literals only",
		`msg.text.matches("(a{1,99}){1,9}b")`: "matches: the regular expression has",
		`matches(user, "(a{1,99}){1,9}b")`:    "matches: the regular expression has",
		`msg.text.replace("", msg.text)==""`:  "replace takes literals only",
		`msg.text.indexOf(msg.text+"b") > 1`:  "indexOf takes literals only",
		`msg.text.lastIndexOf(user) > 1`:      "lastIndexOf takes literals only",
		`msg.text.replace("a", "aa") == ""`:   "replace must not put a longer text",
		`["a"].join(msg.text) == ""`:          "join cannot be used in an expression about messages",
		`"%s".format([msg.text]) == ""`:       "format cannot be used in an expression about messages",
		`user == "{http.request.header.X}"`:   "the placeholder {http.request.header.X} stands in quotes",
		`{msg.user} == ""`:                    "the placeholder {msg.user} is unknown: there are {msg.text}",
		`lists.range(9) == []`:                "undeclared reference",
	} {
		_, err := Compile(source)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", source, err, want)
		}
	}
}

func TestExpressionsSayWhatTheyNeed(t *testing.T) {
	for _, test := range []struct {
		source       string
		payload      bool
		placeholders []string
	}{
		{`user == "a" || msg.type == "text" || direction == "from_client"`, false, nil},
		{`msg.text == ""`, true, nil},
		{`msg.size == 0`, true, nil},
		{`[1].exists(x, x == msg.json.a.b)`, true, nil},
		{`has(msg.json.a)`, true, nil},
		{`msg.binary == b""`, true, nil},
		{`{msg.text} == ""`, true, nil},
		{`{msg.size} == ""`, true, nil},
		{`{msg.type} == ""`, false, nil},
		{`{http.b} + {http.a} + {http.b} + {time.now} == ""`, false, []string{"http.a", "http.b"}},
	} {
		e, err := Compile(test.source)
		if err != nil {
			t.Fatalf("%s: %v", test.source, err)
		}
		if e.NeedsPayload() != test.payload || !slices.Equal(e.Placeholders(), test.placeholders) {
			t.Errorf("%s: got %v, %q", test.source, e.NeedsPayload(), e.Placeholders())
		}
	}
}

func TestExpressionsAreEvaluatedAtTheSameTime(t *testing.T) {
	e, err := Compile(`msg.json.items.exists(i, i.id == msg.size) && {http.request.header.X} == "yes"`)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 200 {
				payload := fmt.Sprintf(`{"items":[{"id":%d}]}`, 21+i%2)
				if holds, err := e.Holds(message(messages.Text, payload)); err != nil || holds != (i%2 == 0) {
					t.Errorf("%s: got %v, %v", payload, holds, err)
				}
			}
		})
	}
	all.Wait()
}
