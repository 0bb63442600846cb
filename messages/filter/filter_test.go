package filter

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/wsgateway/caddy-ws-gateway/messages"
	"github.com/wsgateway/caddy-ws-gateway/messages/otherwise"
)

var connection = messages.Connection{UserID: "alice"}.
	WithPlaceholders(map[string]string{"http.request.header.Room": "lobby"})

func message(payload string) *messages.Message {
	m := &messages.Message{Conn: connection}
	m.Begin(messages.FromClient, messages.Text, []byte(payload), time.Time{})
	return m
}

func TestCaddyfileOfFilter(t *testing.T) {
	for config, want := range map[string]Filter{
		"filter true":                                      {Expression: `true`},
		"filter `msg.json.type == \"debug\"`":              {Expression: `msg.json.type == "debug"`},
		`filter msg.json.type != "debug" && msg.size < 10`: {Expression: `msg.json.type != "debug" && msg.size < 10`},
		"filter msg.text != `a \"b\"\\d`":                  {Expression: `msg.text != "a \"b\"\\d"`},
		`filter msg.text != "a \"b\""`:                     {Expression: `msg.text != "a \"b\""`},
		`filter {http.request.header.Room} == "lobby"`:     {Expression: `{http.request.header.Room} == "lobby"`},
		`filter msg.text != "else" else drop`: {
			Expression: `msg.text != "else"`, Else: &otherwise.Otherwise{Drop: true},
		},
		"filter \"msg.size < 10\" else close 1008 `too long`": {
			Expression: `msg.size < 10`, Else: &otherwise.Otherwise{Close: &otherwise.Close{Code: 1008, Reason: "too long"}},
		},
		"filter msg.size < 10 else reply `{\"error\":\"{msg.size}\"}`": {
			Expression: `msg.size < 10`, Else: &otherwise.Otherwise{Reply: `{"error":"{msg.size}"}`},
		},
	} {
		var f Filter
		if err := f.UnmarshalCaddyfile(caddyfile.NewTestDispenser(config)); err != nil {
			t.Errorf("%s: %v", config, err)
		}
		f.keep = nil
		if !reflect.DeepEqual(f, want) {
			t.Errorf("%s: got %+v", config, f)
		}
	}
}

func TestCaddyfileOfFilterSaysWhatIsWrong(t *testing.T) {
	for config, want := range map[string]string{
		`filter`:                           "filter needs an expression",
		`filter else drop`:                 "filter needs an expression",
		`filter ""`:                        "filter: the expression is empty",
		`filter msg.size < ten`:            "filter: column 12 of the expression: undeclared reference to 'ten'",
		`filter msg.size`:                  "filter: the expression gives int and not bool",
		`filter true else`:                 "an argument is missing: else drop",
		`filter true else close 1006`:      "the close code 1006 cannot be sent",
		`filter true else drop it`:         "too many arguments",
		"filter true {\n drop\n}":          "filter takes no block",
		"filter true else drop {\n x\n}":   "filter takes no block",
		`filter msg.text.matches("[")`:     "column 18 of the expression: invalid matches argument",
		"filter `msg.text ==\n msg.sise`":  "filter: line 2, column 2 of the expression",
		`filter user == {http.a.b} && usr`: "column 23",
	} {
		var f Filter
		err := f.UnmarshalCaddyfile(caddyfile.NewTestDispenser("\n" + config))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Testfile:") {
			t.Errorf("%s: got %v, want %q and the line", config, err, want)
		}
	}
}

func provisioned(t testing.TB, config string) *Filter {
	t.Helper()
	f := new(Filter)
	if err := json.Unmarshal([]byte(config), f); err != nil {
		t.Fatal(err)
	}
	if err := f.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if err := f.Validate(); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFilterKeepsWhatItIsToldTo(t *testing.T) {
	for _, test := range []struct {
		config  string
		payload string
		want    messages.Verdict
	}{
		{`{"expression":"msg.size < 4"}`, "abc", messages.Pass},
		{`{"expression":"msg.size < 4"}`, "abcd", messages.Drop()},
		{`{"expression":"msg.json.type == 'a'"}`, "no JSON", messages.Drop()},
		{`{"expression":"false","else":{"drop":true}}`, "", messages.Drop()},
		{`{"expression":"false","else":{"close":{"code":1008,"reason":"{http.request.header.Room}"}}}`, "", messages.Close(1008, "lobby")},
		{`{"expression":"false","else":{"reply":"no {msg.text}"}}`, "a", messages.Reply(messages.Text, []byte("no a"))},
		{`{"expression":"user == 'alice' && {http.request.header.Room} == 'lobby'"}`, "", messages.Pass},
	} {
		got, err := provisioned(t, test.config).HandleMessage(message(test.payload))
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %+v, %v", test.config, got, err)
		}
	}
}

func TestFilterRefusesWhatCannotWork(t *testing.T) {
	for config, want := range map[string]string{
		`{}`:                              "filter: the expression is empty",
		`{"expression":"msg.siz > 1"}`:    "filter: column 1 of the expression",
		`{"expression":"true","else":{}}`: "filter: else: say exactly one of drop, close and reply",
		`{"expression":"true","else":{"close":{"code":1}}}`: "filter: else: the close code 1",
	} {
		f := new(Filter)
		if err := json.Unmarshal([]byte(config), f); err != nil {
			t.Fatal(err)
		}
		err := f.Provision(caddy.Context{})
		if err == nil {
			err = f.Validate()
		}
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v", config, err)
		}
	}
}

func TestFilterSaysWhatItNeeds(t *testing.T) {
	for _, test := range []struct {
		config       string
		ignores      bool
		placeholders []string
	}{
		{`{"expression":"user == ''"}`, true, nil},
		{`{"expression":"msg.size < 1"}`, false, nil},
		{`{"expression":"user == ''","else":{"close":{"code":1008,"reason":"for {http.a}"}}}`, true, []string{"http.a"}},
		{`{"expression":"user == ''","else":{"close":{"code":1008,"reason":"{msg.size}"}}}`, false, nil},
		{`{"expression":"{http.b} == ''","else":{"reply":"{http.a}"}}`, false, []string{"http.b", "http.a"}},
	} {
		f := provisioned(t, test.config)
		if f.IgnoresPayload() != test.ignores || !slices.Equal(f.Placeholders(), test.placeholders) {
			t.Errorf("%s: got %v, %q", test.config, f.IgnoresPayload(), f.Placeholders())
		}
	}
}

func TestFilterEndsWhatCostsTooMuch(t *testing.T) {
	f := provisioned(t, `{"expression":"msg.json.all(a, msg.json.all(b, msg.json.all(c, a + b + c > 0)))"}`)
	_, err := f.HandleMessage(message("[" + strings.Repeat("1,", 1000) + "1]"))
	if err == nil || err.Error() != "filter: the expression costs more than 5000000 for this message" {
		t.Errorf("got %v", err)
	}
}

func FuzzFilter(f *testing.F) {
	for _, seed := range []string{``, `{}`, `{"type":"debug"}`, `[1,{"a":[]}]`, `"\ud800"`, "\xff", `{"a":1,"a":{}}`, `1e999`} {
		f.Add([]byte(seed))
	}
	var filters []*Filter
	for _, expression := range []string{
		`msg.json.type == \"debug\" || msg.json == msg.json`,
		`msg.json.exists(x, x == msg.json.a || msg.json[x].size() > 1)`,
		`msg.text.split(\",\").all(w, w.trim().matches(\"^\\\\pL+$\"))`,
	} {
		filters = append(filters, provisioned(f, `{"expression":"`+expression+`","else":{"reply":"{msg.text}"}}`))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		for _, filter := range filters {
			for _, kind := range []messages.Type{messages.Text, messages.Binary} {
				m := &messages.Message{Conn: connection}
				m.Begin(messages.FromUpstream, kind, payload, time.Now().Add(time.Second))
				if _, err := filter.HandleMessage(m); err != nil && strings.Contains(err.Error(), "cannot be evaluated") {
					t.Error(err)
				}
				m.Finish()
			}
		}
	})
}

func BenchmarkFilter(b *testing.B) {
	for _, bench := range []struct{ name, expression string }{
		{"size", `msg.size < 100000`},
		{"text", `msg.text.startsWith('{')`},
		{"matches", `msg.text.matches('^.type.:.[a-z]+.')`},
		{"json", `msg.json.type == 'chat'`},
		{"exists", `msg.json.items.exists(i, i.id == -1)`},
	} {
		f := provisioned(b, `{"expression":"`+bench.expression+`"}`)
		for _, size := range []struct {
			name  string
			bytes int
		}{{"128B", 128}, {"4KiB", 4 << 10}, {"64KiB", 64 << 10}} {
			item := `{"id":12345,"text":"hello there"}`
			items := strings.Repeat(","+item, max(0, size.bytes-60-len(item))/(len(item)+1))
			payload := []byte(fmt.Sprintf(`{"type":"chat","items":[%s%s]}`, item, items))
			b.Run(bench.name+"/"+size.name, func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(payload)))
				m := &messages.Message{Conn: connection}
				for b.Loop() {
					m.Begin(messages.FromClient, messages.Text, payload, time.Now().Add(time.Second))
					if _, err := f.HandleMessage(m); err != nil {
						b.Fatal(err)
					}
				}
				m.Finish()
			})
		}
	}
}
