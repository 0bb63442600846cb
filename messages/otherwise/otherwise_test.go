package otherwise

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

func TestParseReadsTheRestOfALine(t *testing.T) {
	long := strings.Repeat("a", 123)
	for line, want := range map[string]Otherwise{
		`else drop`:                          {Drop: true},
		`else close 1008`:                    {Close: &Close{Code: 1008}},
		`else close 3001 "not for {http.a}"`: {Close: &Close{Code: 3001, Reason: "not for {http.a}"}},
		`else close 1008 "{http.request.header.Very-Long}` + long + `"`: {Close: &Close{1008, "{http.request.header.Very-Long}" + long}},
		"else reply `{\"error\":1}`":                                    {Reply: `{"error":1}`},
	} {
		d := caddyfile.NewTestDispenser(line + "\nnext")
		d.Next()
		o, err := Parse(d)
		if err != nil || !reflect.DeepEqual(*o, want) {
			t.Errorf("%s: got %+v, %v", line, o, err)
		}
		if !d.Next() || d.Val() != "next" {
			t.Errorf("%s: the next line was taken, too", line)
		}
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for line, want := range map[string]string{
		`else`:                            "an argument is missing: else drop, else close <code> [<reason>], or else reply <text>",
		`else ignore`:                     `unknown word "ignore" after else: allowed are drop, close <code> [<reason>], reply <text>`,
		`else drop it`:                    "too many arguments",
		`else close`:                      "an argument is missing",
		`else close 1008 a b`:             "what has blanks needs quotes",
		`else close policy`:               `the close code "policy" is not a number: use 1000, 1003`,
		`else close 1006`:                 "the close code 1006 cannot be sent",
		`else close 2999`:                 "use 1000, 1003, 1007 to 1009, 1011, or 3000 to 4999",
		`else reply`:                      "an argument is missing",
		`else reply ""`:                   "the reply is empty",
		`else reply a b`:                  "too many arguments",
		`else close 1008 {msg.error.pth}`: "else: the reason: the placeholder {msg.error.pth} is unknown: there are {msg.text}",
		`else reply "{msg.json.a}"`:       "else: the reply: the placeholder {msg.json.a} is unknown: there are {msg.text}, {msg.size}, {msg.type}, {msg.direction}, {msg.error}, {msg.error.path}",
		`else close 1008 "{a}` + strings.Repeat("a", 121) + `"`:      "the reason has 124 bytes: shorten it to 123",
		`else close 1008 "{http.a}` + strings.Repeat("a", 124) + `"`: "the reason has 124 bytes: shorten it to 123",
		`else close 1008 ` + strings.Repeat("a", 124):                "the reason has 124 bytes: shorten it to 123",
	} {
		d := caddyfile.NewTestDispenser("\n" + line)
		d.Next()
		_, err := Parse(d)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), ":2") {
			t.Errorf("%s: got %v, want %q and the line", line, err, want)
		}
	}
}

func TestValidateWantsExactlyOne(t *testing.T) {
	for config, valid := range map[string]bool{
		`{"drop":true}`:                           true,
		`{"close":{"code":1007,"reason":"no"}}`:   true,
		`{"reply":"no"}`:                          true,
		`{}`:                                      false,
		`{"drop":true,"reply":"no"}`:              false,
		`{"drop":true,"close":{"code":1008}}`:     false,
		`{"close":{"reason":"no code"}}`:          false,
		`{"close":{"code":1008},"reply":"no"}`:    false,
		`{"close":{"code":1005,"reason":"none"}}`: false,
	} {
		var o Otherwise
		if err := json.Unmarshal([]byte(config), &o); err != nil {
			t.Fatal(err)
		}
		if err := o.Validate(); (err == nil) != valid {
			t.Errorf("%s: got %v", config, err)
		}
		if again, _ := json.Marshal(o); valid && string(again) != config {
			t.Errorf("%s: became %s", config, again)
		}
	}
	for _, o := range []*Otherwise{{Reply: "\xff"}, {Close: &Close{Code: 1008, Reason: "\xff"}}} {
		if err := o.Validate(); err == nil {
			t.Errorf("%+v is not valid UTF-8", o)
		}
	}
	if err := (*Otherwise)(nil).Validate(); err != nil {
		t.Error(err)
	}
}

func TestVerdictSaysWhatBecomesOfAMessage(t *testing.T) {
	long := strings.Repeat("é", 100)
	c := messages.Connection{}.WithPlaceholders(map[string]string{"http.a": "b", "http.long": long, "http.bad": "\xff"})
	for _, test := range []struct {
		o            *Otherwise
		kind         messages.Type
		want         messages.Verdict
		placeholders []string
	}{
		{nil, messages.Text, messages.Drop(), nil},
		{&Otherwise{Drop: true}, messages.Text, messages.Drop(), nil},
		{&Otherwise{Close: &Close{Code: 1008}}, messages.Text, messages.Close(1008, ""), nil},
		{&Otherwise{Close: &Close{1008, "{msg.size} of {http.a}"}}, messages.Text, messages.Close(1008, "5 of b"), []string{"http.a"}},
		{&Otherwise{Close: &Close{1008, "a{http.long}"}}, messages.Text, messages.Close(1008, "a"+long[:122]), []string{"http.long"}},
		{&Otherwise{Close: &Close{1008, "{http.long}"}}, messages.Text, messages.Close(1008, long[:122]), []string{"http.long"}},
		{&Otherwise{Close: &Close{1008, "{http.bad}"}}, messages.Binary, messages.Close(1008, "\uFFFD"), []string{"http.bad"}},
		{&Otherwise{Reply: `{"no":"{msg.text}"}`}, messages.Text, messages.Reply(messages.Text, []byte(`{"no":"hello"}`)), nil},
		{&Otherwise{Reply: "{http.bad}"}, messages.Text, messages.Reply(messages.Text, []byte("\uFFFD")), []string{"http.bad"}},
		{&Otherwise{Reply: "{http.bad}"}, messages.Binary, messages.Reply(messages.Binary, []byte("\xff")), []string{"http.bad"}},
	} {
		test.o.Provision()
		m := &messages.Message{Conn: c}
		m.Begin(messages.FromClient, test.kind, []byte("hello"), time.Time{})
		if got := test.o.Verdict(m); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%+v: got %+v, want %+v", test.o, got, test.want)
		}
		if got := test.o.Placeholders(); !slices.Equal(got, test.placeholders) {
			t.Errorf("%+v: placeholders %q", test.o, got)
		}
	}
}
