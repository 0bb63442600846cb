package schema

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

func FuzzSchema(f *testing.F) {
	for _, seed := range []string{
		`{"op":"buy","items":[1,{"n/~":0}]}`, `[1e400,-0,"\ud800",{"a":1,"a":2}]`, `{"one":{"t":"b","s":1}}`,
		"\xff", "[[[[", `{"tags":["a","a"],"names":{"abc":1}}`, `1e999999`, ` `, `{"at":"2026-01-01T00:00:00Z"}`,
	} {
		f.Add([]byte(seed))
	}
	handlers := []*Schema{
		provisioned(f, order, func(s *Schema) { s.AssertFormat = true }),
		provisioned(f, `{"$ref": "https://json-schema.org/draft/2020-12/schema"}`, nil),
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		for _, s := range handlers {
			m := new(messages.Message)
			m.Begin(messages.FromClient, messages.Text, payload, time.Now().Add(10*time.Second))
			verdict, err := s.HandleMessage(m)
			switch {
			case err != nil:
				t.Fatal(err)
			case verdict.Kind == messages.KindPass:
				if !json.Valid(payload) {
					t.Errorf("%q passes", payload)
				}
			case !messages.ValidClose(verdict.Code, verdict.Reason) || !json.Valid([]byte(`"`+m.Fault.Path+m.Fault.Text+`"`)):
				t.Errorf("%q: %v, %v", payload, verdict, m.Fault)
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5e-3,null,true,"\u00e9\n"]}`, `-0`, `01`, `1.`, "\"\x01\"", `"\`, `[1,]`, `{"a":1,}`, "tru", `"\x"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, _, err := decode(data)
		want, wrong := jsonschema.UnmarshalJSON(strings.NewReader(string(data)))
		if err != nil {
			if wrong == nil && strings.HasPrefix(err.what, "not JSON") {
				t.Errorf("%q: %v", data, err)
			}
			return
		}
		if wrong != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %v, want %v, %v", data, got, want, wrong)
		}
	})
}

func BenchmarkSchema(b *testing.B) {
	s := provisioned(b, `{"type": "object", "required": ["list"], "properties": {"list": {"items": {
		"type": "object", "required": ["id", "name"], "properties": {
			"id": {"type": "integer", "minimum": 0}, "name": {"type": "string", "maxLength": 20}, "on": {"type": "boolean"}}}}}}`, nil)
	for name, size := range map[string]int{"128B": 128, "4KiB": 4 << 10, "64KiB": 64 << 10, "1MiB": 1 << 20} {
		var list []string
		for length := 12; length < size-40; length += len(list[len(list)-1]) + 1 {
			list = append(list, fmt.Sprintf(`{"id":%d,"name":"somebody","on":true}`, len(list)))
		}
		payload := []byte(`{"list":[` + strings.Join(list, ",") + `]}`)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(payload)))
			m := new(messages.Message)
			for b.Loop() {
				m.Begin(messages.FromClient, messages.Text, payload, time.Now().Add(10*time.Second))
				if verdict, err := s.HandleMessage(m); err != nil || verdict.Kind != messages.KindPass {
					b.Fatal(verdict, err)
				}
			}
		})
	}
}
