package log

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// prepared is a handler that writes to the logs returned.
func prepared(t testing.TB, l *Log) *observer.ObservedLogs {
	t.Helper()
	core, lines := observer.New(zap.InfoLevel)
	l.logger = zap.New(core)
	if err := l.prepare(); err != nil {
		t.Fatal(err)
	}
	if err := l.Validate(); err != nil {
		t.Fatal(err)
	}
	return lines
}

func handle(t testing.TB, l *Log, m *messages.Message, kind messages.Type, payload string) {
	t.Helper()
	m.Begin(messages.FromUpstream, kind, []byte(payload), time.Now().Add(time.Minute))
	verdict, err := l.HandleMessage(m)
	if err != nil || verdict.Kind != messages.KindPass || string(m.Payload) != payload {
		t.Fatalf("got %v, %v, %q", verdict, err, m.Payload)
	}
}

func TestLogFields(t *testing.T) {
	t.Parallel()
	somebody := &messages.Connection{ID: "c1", Gateway: "chat", UserID: "u1"}
	fields := map[string]any{"gateway": "chat", "connection": "c1", "user_id": "u1", "direction": "from_upstream", "type": "text"}
	tests := map[string]struct {
		log     *Log
		conn    *messages.Connection
		binary  bool
		payload string
		want    map[string]any
	}{
		"all":              {new(Log), somebody, false, "hi", map[string]any{"size": int64(2), "payload": "hi"}},
		"nobody":           {new(Log), &messages.Connection{ID: "c1", Gateway: "chat"}, false, "", map[string]any{"user_id": nil, "size": int64(0), "payload": ""}},
		"binary":           {&Log{Size: new(int64(2))}, somebody, true, "\xff\x00\x01", map[string]any{"type": "binary", "size": int64(3), "payload": []byte("\xff\x00"), "truncated": true}},
		"default size":     {new(Log), somebody, false, strings.Repeat("é", 600), map[string]any{"size": int64(1200), "payload": strings.Repeat("é", 512), "truncated": true}},
		"whole runes":      {&Log{Size: new(int64(4))}, somebody, false, "aé日", map[string]any{"size": int64(6), "payload": "aé", "truncated": true}},
		"no payload":       {&Log{Size: new(int64(0))}, somebody, false, "hi", map[string]any{"size": int64(2)}},
		"exactly the size": {&Log{Size: new(int64(2))}, somebody, false, "hi", map[string]any{"size": int64(2), "payload": "hi"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines := prepared(t, test.log)
			kind := messages.Text
			if test.binary {
				kind = messages.Binary
			}
			handle(t, test.log, &messages.Message{Conn: test.conn}, kind, test.payload)
			want := maps.Clone(fields)
			maps.Copy(want, test.want)
			maps.DeleteFunc(want, func(_ string, v any) bool { return v == nil })
			if lines.Len() != 1 {
				t.Fatalf("%d lines", lines.Len())
			}
			line := lines.All()[0]
			if got := line.ContextMap(); fmt.Sprint(got) != fmt.Sprint(want) || line.Message != "message" || line.Level != zap.InfoLevel {
				t.Errorf("got %s %q %v\nwant %v", line.Level, line.Message, got, want)
			}
		})
	}
}

func TestLogRedactsBeforeItCuts(t *testing.T) {
	t.Parallel()
	const pattern = `"token":"[^"]*"`
	long := `"token":"` + strings.Repeat("x", 10_000) + `"`
	tests := map[string]struct {
		log     *Log
		payload string
		want    string
	}{
		"within":            {&Log{Size: new(int64(100))}, `{"token":"s3cret","a":1}`, `{REDACTED,"a":1}`},
		"over the border":   {&Log{Size: new(int64(12))}, `{"token":"s3cret","a":1}`, `{REDACTED`},
		"from the border":   {&Log{Size: new(int64(1))}, `{"token":"s3cret","a":1}`, `{`},
		"long":              {&Log{Size: new(int64(20))}, "{" + long + ",1}", `{REDACTED`},
		"room is no reason": {&Log{Size: new(int64(5_000))}, "[" + long + "," + long + "," + strings.Repeat("z", 200_000), `[REDACTED`},
		"it grows":          {&Log{Size: new(int64(6))}, `{"token":"s3cret","a":1}`, `{REDAC`},
		"runes":             {&Log{Size: new(int64(7)), Redact: []*Redaction{{Pattern: "(?s)(b.*)(..)", Replacement: new("$2")}}}, "a" + "b" + strings.Repeat("é", 50_000), "aéé"},
		"it grows too much": {&Log{Size: new(int64(maxSize)), Redact: []*Redaction{{Pattern: `.`, Replacement: new("12345")}}}, strings.Repeat("z", 1<<20), ""},
		"several, in order": {&Log{Size: new(int64(15)), Redact: []*Redaction{{Pattern: "a+", Replacement: new("b")}, {Pattern: "b+", Replacement: new("c")}}}, "aaabbaaaa x aaaaaaaa x", "c x c"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.log.Redact == nil {
				test.log.Redact = []*Redaction{{Pattern: pattern}}
			}
			lines := prepared(t, test.log)
			handle(t, test.log, &messages.Message{Conn: new(messages.Connection)}, messages.Text, test.payload)
			got := lines.All()[0].ContextMap()
			if got["payload"] != test.want || (got["truncated"] == true) != (name != "within") {
				t.Errorf("got %.200q, truncated %v, want %q", got["payload"], got["truncated"], test.want)
			}
		})
	}
}

func TestLogRedactsAlikeInJSONAndCaddyfile(t *testing.T) {
	t.Parallel()
	for caddyfileText, test := range map[string]struct{ json, want string }{
		"redact secret":           {`{"pattern":"secret"}`, "a REDACTED"},
		`redact secret ""`:        {`{"pattern":"secret","replacement":""}`, "a "},
		"redact sec(ret) no${1}s": {`{"pattern":"sec(ret)","replacement":"no${1}s"}`, "a norets"},
	} {
		fromCaddyfile, fromJSON := new(Log), new(Log)
		if err := fromCaddyfile.UnmarshalCaddyfile(caddyfile.NewTestDispenser("log {\n" + caddyfileText + "\n}")); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(`{"redact":[`+test.json+`]}`), fromJSON); err != nil {
			t.Fatal(err)
		}
		for from, l := range map[string]*Log{caddyfileText: fromCaddyfile, test.json: fromJSON} {
			lines := prepared(t, l)
			handle(t, l, &messages.Message{Conn: new(messages.Connection)}, messages.Text, "a secret")
			if got := lines.All()[0].ContextMap()["payload"]; got != test.want {
				t.Errorf("%s: got %q, want %q", from, got, test.want)
			}
		}
	}
}

func TestLogSamples(t *testing.T) {
	t.Parallel()
	l := &Log{Sample: 0.25}
	lines := prepared(t, l)
	m := &messages.Message{Conn: new(messages.Connection)}
	for range 4000 {
		handle(t, l, m, messages.Text, "x")
	}
	if n := lines.Len(); n < 800 || n > 1200 {
		t.Errorf("%d of 4000 lines, want about 1000", n)
	}
}

func TestLogAllocatesNothingForWhatItLeavesOut(t *testing.T) {
	for name, l := range map[string]*Log{
		"not in the sample":  {Sample: math.SmallestNonzeroFloat64},
		"nobody reads lines": {Redact: []*Redaction{{Pattern: "x"}}},
	} {
		prepared(t, l)
		if l.Sample == 1 {
			l.logger = zap.NewNop()
		}
		m := &messages.Message{Conn: new(messages.Connection)}
		m.Begin(messages.FromClient, messages.Text, []byte("x"), time.Time{})
		if n := testing.AllocsPerRun(100, func() { _, _ = l.HandleMessage(m) }); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestUnmarshalCaddyfile(t *testing.T) {
	t.Parallel()
	good := map[string]string{
		"log":                                    `{}`,
		"log {\n}":                               `{}`,
		"log 0.01":                               `{"sample":0.01}`,
		"log 1% {\nsize 0\n}":                    `{"sample":0.01,"size":0}`,
		"log 100%":                               `{"sample":1}`,
		"log {\nsize 4KiB\n}":                    `{"size":4096}`,
		"log {\nredact a+\n}":                    `{"redact":[{"pattern":"a+"}]}`,
		"log {\nredact a \"\"\nredact (b) $1\n}": `{"redact":[{"pattern":"a","replacement":""},{"pattern":"(b)","replacement":"$1"}]}`,
	}
	for text, want := range good {
		var l Log
		if err := l.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if got, err := json.Marshal(l); err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v, want %s", text, got, err, want)
		}
	}
	bad := map[string]string{
		"log 1 2":                     "too many arguments: log [<sample>]",
		"log 1/100":                   `sample: "1/100" is not a part of the messages: write one such as 0.01 or 1%`,
		"log 0":                       `sample: "0" is not`,
		"log 101%":                    `sample: "101%" is not`,
		"log NaN":                     `sample: "NaN" is not`,
		"log {\nsize\n}":              "an argument is missing: size <size>",
		"log {\nsize 1 2\n}":          "too many arguments: size <size>",
		"log {\nsize -1\n}":           `size: "-1" is not a size from 0 to 1MiB`,
		"log {\nsize 2MiB\n}":         `size: "2MiB" is not a size from 0 to 1MiB`,
		"log {\nsize 1\nsize 1\n}":    "size is already set: it may stand once",
		"log {\nredact\n}":            "an argument is missing: redact <regexp>",
		"log {\nredact a b c\n}":      "too many arguments: redact",
		"log {\nsize 1\nredact a*\n}": `redact: pattern: "a*" can match the empty string: let it match at least one character, at Testfile:3`,
		"log {\nlevel debug\n}":       `unknown word "level" in log: allowed are redact, size`,
	}
	for text, want := range bad {
		err := new(Log).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\ngot %v\nwant …%s…", text, err, want)
		}
	}
}

func TestLogRefusesWrongJSON(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		`{"sample": -1}`:     "sample: -1 must be more than 0",
		`{"sample": 1.5}`:    "sample: 1.5 must be more than 0",
		`{"size": -1}`:       "size: -1 must be from 0",
		`{"size": 1048577}`:  "size: 1048577 must be from 0",
		`{"redact": [null]}`: "redact: rule 1 is null: give it a pattern",
		`{"redact": [{"pattern": "a"}, {"pattern": "("}]}`:                      "redact: rule 2: pattern: error parsing regexp",
		`{"redact": [{"pattern": "a"}, {"replacement": "a"}]}`:                  "redact: rule 2: pattern: it is missing",
		`{"redact": [{"pattern": "a", "replacement": "$1"}, {"pattern": "a"}]}`: "redact: rule 1: replacement: the pattern has no group 1",
	} {
		var l Log
		if err := json.Unmarshal([]byte(config), &l); err != nil {
			t.Fatal(err)
		}
		err := l.Provision(caddy.Context{})
		if err == nil {
			err = l.Validate()
		}
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", config, err, want)
		}
	}
}

func FuzzLog(f *testing.F) {
	f.Add([]byte(`{"token":"secret","a":"é日"}`), uint16(10), true)
	f.Add([]byte("\xff\xfe"), uint16(1), false)
	f.Fuzz(func(t *testing.T, payload []byte, n uint16, text bool) {
		l := &Log{Size: new(int64(n) + 1), Redact: []*Redaction{{Pattern: `secret\w*`, Replacement: new("ü")}, {Pattern: "(?s)é(.)", Replacement: new("$1$1")}}}
		lines := prepared(t, l)
		kind := messages.Binary
		if text = text && utf8.Valid(payload); text {
			kind = messages.Text
		}
		handle(t, l, &messages.Message{Conn: new(messages.Connection)}, kind, string(payload))
		got := fmt.Sprint(lines.All()[0].ContextMap()["payload"])
		if text && (!utf8.ValidString(got) || strings.Contains(got, "secret") || len(got) > int(n)+1) {
			t.Errorf("got %q of %q", got, payload)
		}
	})
}

func BenchmarkLog(b *testing.B) {
	for name, l := range map[string]*Log{
		"all":      {},
		"redacted": {Redact: []*Redaction{{Pattern: `"token":"[^"]*"`}}},
		"1%":       {Sample: 0.01},
	} {
		for length, n := range map[string]int{"128B": 128, "4KiB": 4 << 10, "64KiB": 64 << 10} {
			payload := []byte(strings.Repeat(`{"token":"abcdefgh","some":"thing to look at, longer"}`, n/50+1)[:n])
			b.Run(name+"/"+length, func(b *testing.B) {
				prepared(b, l)
				encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
				l.logger = zap.New(zapcore.NewCore(encoder, zapcore.AddSync(io.Discard), zap.InfoLevel))
				b.ReportAllocs()
				m := &messages.Message{Conn: new(messages.Connection)}
				for b.Loop() {
					m.Begin(messages.FromClient, messages.Text, payload, time.Now().Add(time.Hour))
					if _, err := l.HandleMessage(m); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
