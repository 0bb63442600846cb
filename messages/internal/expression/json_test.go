package expression

import (
	"strings"
	"testing"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

func TestJSONIsReadAsWritten(t *testing.T) {
	const document = ` { "s" : "a\u00e9\"b" , "n":-12, "f":1.50, "e":1e3, "big":9223372036854775807,
		"bigger":9223372036854775808,"huge":1e999,"t":true,"no":false,"null":null,"":{"x":{}},
		"list":[ 1 , "two" ,[3],{"four":4} ], "esc\u0061ped":1, "empty":[ ], "brackets":"}]{[\\" ,"dup":1,"dup":2 } `
	for source, want := range map[string]bool{
		`msg.json.s == "aé\"b"`:                                          true,
		`msg.json.n == -12 && type(msg.json.n) == int`:                   true,
		`msg.json.f == 1.5 && type(msg.json.f) == double`:                true,
		`msg.json.e == 1000`:                                             true,
		`msg.json.big == 9223372036854775807`:                            true,
		`type(msg.json.bigger) == double`:                                true,
		`msg.json.huge > 1e300`:                                          true,
		`msg.json.huge == msg.json.huge`:                                 true,
		`msg.json.t && !msg.json.no && msg.json["null"] == null`:         true,
		`msg.json[""].x == {}`:                                           true,
		`msg.json.list[1] == "two" && msg.json.list[3].four == 4`:        true,
		`size(msg.json.list) == 4 && size(msg.json.empty) == 0`:          true,
		`msg.json.list == [1, "two", [3], {"four": 4}]`:                  true,
		`[1, "two", [3], {"four": 4}] == msg.json.list`:                  true,
		`msg.json.list == msg.json.list`:                                 true,
		`msg.json.list == msg.json.empty`:                                false,
		`msg.json == msg.json`:                                           true,
		`{"x": {}} == msg.json[""]`:                                      true,
		`msg.json.list + [5] == [1, "two", [3], {"four": 4}, 5]`:         true,
		`msg.json.escaped == 1`:                                          true,
		`msg.json.brackets == "}]{[\\"`:                                  true,
		`msg.json.dup == 2`:                                              true,
		`size(msg.json) == 16`:                                           true,
		`"n" in msg.json && !("m" in msg.json) && !(1 in msg.json)`:      true,
		`"two" in msg.json.list && [3] in msg.json.list`:                 true,
		`{"four": 4} in msg.json.list && !({"five":5} in msg.json.list)`: true,
		`msg.json.n in [-12, 5]`:                                         true,
		`msg.json.list in [[1]]`:                                         false,
		`msg.json.list.exists(x, x == [3])`:                              true,
		`msg.json.list.map(x, x)[1] == "two"`:                            true,
		`msg.json.exists(k, k == "escaped")`:                             true,
		`msg.json.all(k, k.size() < 9)`:                                  true,
		`msg.json[""].all(k, msg.json[""][k] == {})`:                     true,
		`type(msg.json) == map && type(msg.json.list) == list`:           true,
		`msg.json.n == 1 || msg.json.n == 2 || msg.json.n == 3 || msg.json.n == 4 || msg.json.n == 5 || msg.json.n == -12`: true,
		`msg.json.list[0] == 0 || msg.json.list[0] == 2 || msg.json.list[0] == 3 || msg.json.list[0] == 1`:                 true,
		`msg.json.list[4] == 0`:   false,
		`msg.json.list[-1] == 0`:  false,
		`msg.json.list["a"] == 0`: false,
		`msg.json[1] == 0`:        false,
	} {
		holds(t, source, message(messages.Text, document), want)
		holds(t, source, message(messages.Binary, document), want)
	}
}

func TestScalarsAreJSON(t *testing.T) {
	for document, source := range map[string]string{
		`5`:        `msg.json == 5`,
		` "a" `:    `msg.json == "a"`,
		`true`:     `msg.json == true`,
		`null`:     `msg.json == null`,
		` [ ] `:    `msg.json == []`,
		`{}`:       `msg.json == {}`,
		`-0`:       `msg.json == 0`,
		"\"\xff\"": `msg.json == "�"`, // in binary messages
	} {
		holds(t, source, message(messages.Binary, document), true)
	}
}

func TestWhatIsNoJSONIsNull(t *testing.T) {
	for _, document := range []string{
		``, ` `, `{`, `{"a":1}}`, `{"a":1} {}`, `NaN`, `Infinity`, `01`, `'a'`, `{a:1}`, `[1,]`, "\xff",
		strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000),
		strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000),
		strings.Repeat("[", 1<<20),
	} {
		holds(t, `msg.json == null`, message(messages.Binary, document), true)
	}
}
