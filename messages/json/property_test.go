package json

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/wsgateway/caddy-ws-gateway/messages/internal/jsontext"
)

var names = []string{"a", "b", "0", "1", "é b"}

// random writes JSON as nobody would: blanks, escapes, several members of a name.
type random struct {
	*rand.Rand
	b strings.Builder
}

func (r *random) one(of ...string) string { return of[r.IntN(len(of))] }

func (r *random) space() { r.b.WriteString(r.one("", "", "", " ", "\n\t", "\r\n  ")) }

func (r *random) name() {
	r.b.WriteByte('"')
	for _, c := range r.one(names...) {
		if r.IntN(4) == 0 {
			fmt.Fprintf(&r.b, r.one(`\u%04x`, `\u%04X`), c)
		} else {
			r.b.WriteRune(c)
		}
	}
	r.b.WriteByte('"')
}

func (r *random) value(depth int) {
	r.space()
	defer r.space()
	kind := r.IntN(8)
	if depth == 0 {
		kind = 7
	}
	opening, closing := "{", "}"
	switch {
	case kind == 7:
		r.b.WriteString(r.one("null", "true", "1.50", "-0", "1e+05", "12345678901234567890", `"a\"}]"`, `"\ud83d\\"`, `"é,:{["`, `""`))
		return
	case kind >= 4:
		opening, closing = "[", "]"
	}
	r.b.WriteString(opening)
	r.space()
	for i := range r.IntN(5) {
		if i > 0 {
			r.b.WriteByte(',')
			r.space()
		}
		if opening == "{" {
			r.name()
			r.space()
			r.b.WriteByte(':')
		}
		r.value(depth - 1)
	}
	r.b.WriteString(closing)
}

func (r *random) document() []byte {
	r.b.Reset()
	r.value(5)
	return []byte(r.b.String())
}

func (r *random) path(also ...string) string {
	var p []string
	for range 1 + r.IntN(4) {
		p = append(p, r.one(append(also, names...)...))
	}
	return strings.Join(p, ".")
}

func TestRandomEditsAreThoseOfTheModel(t *testing.T) {
	r := &random{Rand: rand.New(rand.NewPCG(1, 2))}
	for range 2_000 {
		text := r.document()
		checkEdits(t, text, r.path(), r.path())
		checkDelete(t, text, mustParse(t, r.path("*", "*")))
		checkSet(t, text, mustParse(t, r.path("-1")))
		if t.Failed() {
			return
		}
	}
}

// checkEdits compares each edit of a text with the model.
func checkEdits(t testing.TB, text []byte, pathText, otherText string) {
	t.Helper()
	p, err := parsePath(pathText)
	if err != nil || p.has(every) {
		return
	}
	checkSet(t, text, p)
	checkDelete(t, text, p)
	if p.has(appending) {
		return
	}
	begin, end, ok := (&document{text: text}).get(p)
	value, want := modelGet(decode(t, text), p)
	if ok != want || ok && !reflect.DeepEqual(decode(t, text[begin:end]), value) {
		t.Errorf("require %s of %q: got %v, %q", pathText, text, ok, text[begin:end])
	}
	if other, err := parsePath(otherText); err == nil && !other.has(every) && pathText != otherText {
		checkRename(t, text, p, other)
	}
}

func checkSet(t testing.TB, text []byte, p path) {
	t.Helper()
	value := []byte(`{"new": 1.0}`)
	out, ok := editedBy(text, func(d *document) bool {
		d.scratch = append(d.scratch, value...)
		return d.set(p, d.scratch)
	})
	want, possible := modelSet(decode(t, text), p, decode(t, value))
	if ok != possible || ok && !reflect.DeepEqual(decode(t, out), want) {
		t.Errorf("set %v in %q: got %v, %q", p, text, ok, out)
	}
	if !ok || p.has(appending) {
		return
	}
	before := tree(t, text)
	if found := tree(t, out).occurrences(p); len(found) != 1 || !tree(t, out).unambiguous(p) {
		t.Errorf("set %v in %q: %d places in %q", p, text, len(found), out)
	}
	if !before.unambiguous(p) {
		return
	}
	if found := before.occurrences(p); len(found) == 1 { // only the value is another
		begin, end, _ := (&document{text: text}).get(p)
		if found[0].raw != string(text[:end]) || string(out) != string(text[:begin])+string(value)+string(text[end:]) {
			t.Errorf("set %v in %q: other bytes are changed: %q", p, text, out)
		}
	} else if unchanged(text, out) < len(text) && bytes.Count(out, []byte("null")) == bytes.Count(text, []byte("null")) {
		t.Errorf("set %v in %q: more than put in: %q", p, text, out)
	}
	again, ok := editedBy(out, func(d *document) bool { return d.set(p, value) })
	if !ok || !bytes.Equal(out, again) {
		t.Errorf("set %v again in %q: got %q", p, out, again)
	}
}

func checkDelete(t testing.TB, text []byte, p path) {
	t.Helper()
	out, _ := editedBy(text, func(d *document) bool { d.delete(p); return true })
	if !json.Valid(out) {
		t.Errorf("delete %v in %q: got %q", p, text, out)
		return
	}
	if got, want := decode(t, out), modelDelete(decode(t, text), p); !reflect.DeepEqual(got, want) {
		t.Errorf("delete %v in %q: got %q", p, text, out)
	}
	found := tree(t, text).occurrences(p)
	switch left := tree(t, out).occurrences(p); {
	case len(left) > 0 && leadsOverElements(t, text, p):
		// what was behind the element has its index now
	case len(left) > 0:
		t.Errorf("delete %v in %q: left in %q", p, text, out)
	}
	if len(found) == 0 && !bytes.Equal(text, out) || len(found) == 1 && unchanged(text, out) < len(out) {
		t.Errorf("delete %v in %q: other bytes are changed: %q", p, text, out)
	}
}

// leadsOverElements reports whether the last step of the path leads to elements of arrays
// somewhere.
func leadsOverElements(t testing.TB, text []byte, p path) bool {
	last := len(p) - 1
	return p[last].index >= 0 && slices.ContainsFunc(tree(t, text).occurrences(p[:last]), func(n *node) bool {
		return !n.object && len(n.values) > p[last].index
	})
}

func checkRename(t testing.TB, text []byte, from, to path) {
	t.Helper()
	out, ok := editedBy(text, func(d *document) bool { return d.rename(from, to) })
	want, possible := modelRename(decode(t, text), from, to)
	if ok != possible && (ok || len(text) < jsontext.Deepest) || ok && !reflect.DeepEqual(decode(t, out), want) {
		t.Errorf("rename %v %v in %q: got %v, %q", from, to, text, ok, out)
	}
	common := min(len(from), len(to))
	if !ok || slices.Equal(from[:common], to[:common]) || leadsOverElements(t, text, from) {
		return
	}
	if left := tree(t, out).occurrences(from); len(left) > 0 {
		t.Errorf("rename %v %v in %q: left in %q", from, to, text, out)
	}
	if _, moved := modelGet(decode(t, text), from); moved && !tree(t, out).unambiguous(to) {
		t.Errorf("rename %v %v in %q: several in %q", from, to, text, out)
	}
}

// FuzzEdit edits anything.
func FuzzEdit(f *testing.F) {
	for _, text := range []string{
		`null`, `-1.50e+10`, `"é€😀\ud800\""`, `[ ]`, `[1,[2,{"a":[]}]]`, `{"a" : 1 , "b":[ {} , [] ] }`, `{"a":1,"\u0061":2}`,
		``, `{`, `[}`, `{"a":1,}`, `{"a":1}{"b":2}`, "\"\xff\"", "\xef\xbb\xbf{}",
	} {
		f.Add([]byte(text), "a", "b")
	}
	f.Add([]byte(nested(jsontext.Deepest+1)), "0.0", "1")
	f.Add([]byte(`{"a":1,"\u0061":[{"b":1}],"b":null,"a":{"b":2,"b":3}}`), "a.b", "b.c")
	f.Add([]byte(`[{"a":1} , {"a":2,"b":"\\\""}]`), "*.a", "0.b.-1")
	f.Add([]byte(`{"us\u0065r":{"id":1.50},"a.b":2}`), "user.id", `a\.b`)
	e := handler(f, "set a.b {http.evil}\ndelete *.secret\nrename c d.e\nrename d f\nset l.-1 5")
	f.Fuzz(func(t *testing.T, text []byte, from, to string) {
		isJSON := json.Valid(text) && utf8.Valid(text)
		m := message(2, string(text))
		verdict, err := e.HandleMessage(m)
		switch {
		case err != nil:
			t.Fatal(err)
		case !isJSON && (verdict.Kind != 0 || !bytes.Equal(text, m.Payload)):
			t.Fatalf("no JSON, and %q becomes %q, %+v", text, m.Payload, verdict)
		case isJSON && (!json.Valid(m.Payload) || !utf8.Valid(m.Payload)):
			t.Fatalf("%q becomes %q", text, m.Payload)
		case !isJSON:
			return
		}
		checkEdits(t, text, from, to)
		if p, err := parsePath(from); err == nil {
			checkDelete(t, text, p)
		}
	})
}

func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
