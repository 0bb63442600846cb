package strictjson

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestParseObjectReadsOneLevel(t *testing.T) {
	t.Parallel()
	o, err := ParseObject([]byte(` { "s" : "a\"bé" , "n":-1.5e3, "t":true,"f":false,"z":null,
		"o":{"a":{"b":1}}, "l":[1,"two",{"x":[]}], "s\u0032":"}]" } `))
	if err != nil {
		t.Fatal(err)
	}
	if len(o) != 8 {
		t.Fatalf("got %d members, want 8", len(o))
	}
	if s, ok := o.Get("s").Text(); !ok || s != "a\"bé" {
		t.Errorf("s = %q, %v", s, ok)
	}
	if s, ok := o.Get("s2").Text(); !ok || s != "}]" {
		t.Errorf("s2 = %q, %v", s, ok)
	}
	if n, ok := o.Get("n").Number(); !ok || n != "-1.5e3" {
		t.Errorf("n = %q, %v", n, ok)
	}
	if b, ok := o.Get("t").Bool(); !ok || !b {
		t.Errorf("t = %v, %v", b, ok)
	}
	if b, ok := o.Get("f").Bool(); !ok || b {
		t.Errorf("f = %v, %v", b, ok)
	}
	if !o.Get("z").IsNull() || o.Get("f").IsNull() || o.Get("missing").IsNull() {
		t.Error("null is not told from others")
	}
	inner, ok := o.Get("o").Object()
	if !ok || string(inner.Get("a")) != `{"b":1}` {
		t.Errorf("o.a = %s, %v", inner.Get("a"), ok)
	}
	list, ok := o.Get("l").Elements()
	if !ok || len(list) != 3 || string(list[2]) != `{"x":[]}` {
		t.Errorf("l = %q, %v", list, ok)
	}
	for _, wrong := range []Value{o.Get("z"), o.Get("missing"), o.Get("o")} {
		if _, ok := wrong.Text(); ok {
			t.Errorf("%s is taken for a string", wrong)
		}
		if _, ok := wrong.Number(); ok {
			t.Errorf("%s is taken for a number", wrong)
		}
		if _, ok := wrong.Elements(); ok {
			t.Errorf("%s is taken for an array", wrong)
		}
	}
}

func TestParseObjectRefuses(t *testing.T) {
	t.Parallel()
	many := "{" + strings.TrimSuffix(strings.Repeat(`"a":1,`, 1), ",")
	for i := range maxMembers {
		many += `,"` + strings.Repeat("b", i+1) + `":1`
	}
	for name, row := range map[string]struct {
		text string
		want error
	}{
		"nothing":                      {"", errNotObject},
		"an array":                     {"[]", errNotObject},
		"a string":                     {`"{}"`, errNotObject},
		"null":                         {"null", errNotObject},
		"something behind it":          {"{}{}", errNotObject},
		"an unclosed object":           {`{"a":1`, errNotObject},
		"a trailing comma":             {`{"a":1,}`, errNotObject},
		"a comment":                    {`{"a":1/**/}`, errNotObject},
		"a name twice":                 {`{"a":1,"b":2,"a":1}`, errDuplicate},
		"a name twice, once escaped":   {`{"a":1,"\u0061":1}`, errDuplicate},
		"a name twice further in":      {`{"x":[{"y":{"a":1,"a":2}}]}`, errDuplicate},
		"text that is not UTF-8":       {"{\"a\":\"\xff\"}", errNotUTF8},
		"deep arrays":                  {`{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, errTooDeep},
		"deep objects":                 {strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40), errTooDeep},
		"more members than anyone has": {many + "}", errTooMany},
	} {
		if _, err := ParseObject([]byte(row.text)); !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", name, err, row.want)
		}
	}
}

// FuzzParseObject holds that what is accepted reads the same in encoding/json,
// and has no name twice.
func FuzzParseObject(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":[true,{"c":"d"}],"e":{"f":null}}`))
	f.Add([]byte(`{"a":1,"\u0061":2}`))
	f.Add([]byte(` {"a" : "\"}" }`))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := ParseObject(data)
		if err != nil {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("accepted %q: %v", data, err)
		}
		if len(want) != len(o) {
			t.Fatalf("%q: %d members, want %d", data, len(o), len(want))
		}
		for _, m := range o {
			if string(want[string(m.Name)]) != string(m.Value) {
				t.Fatalf("%q: %q is %q, want %q", data, m.Name, m.Value, want[string(m.Name)])
			}
			if s, ok := m.Value.Text(); ok {
				var same string
				if json.Unmarshal(m.Value, &same) != nil || same != s || !m.Value.Is(s) {
					t.Fatalf("%q reads %q, want %q", m.Value, s, same)
				}
			}
			m.Value.Object()
			m.Value.Elements()
		}
	})
}
