package json

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
)

// The model makes edits in what encoding/json decodes, in which the last member of a name
// counts; and occurrences in what is there however it is taken.

func decode(t testing.TB, text []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%.200q: %v", text, err)
	}
	return v
}

func modelGet(v any, p path) (any, bool) {
	for _, s := range p {
		switch at := v.(type) {
		case map[string]any:
			if v = at[s.name]; !has(at, s.name) {
				return nil, false
			}
		case []any:
			if s.index < 0 || s.index >= len(at) {
				return nil, false
			}
			v = at[s.index]
		default:
			return nil, false
		}
	}
	return v, true
}

func has(m map[string]any, name string) bool { _, ok := m[name]; return ok }

func modelDelete(v any, p path) any {
	s, last := p[0], len(p) == 1
	switch at := v.(type) {
	case map[string]any:
		for name, value := range at {
			switch leads := s.kind == every || s.kind == plainStep && name == s.name; {
			case leads && last:
				delete(at, name)
			case leads:
				at[name] = modelDelete(value, p[1:])
			}
		}
	case []any:
		rest := []any{}
		for i, value := range at {
			leads := s.kind == every || s.kind == plainStep && i == s.index
			if leads && last {
				continue
			}
			if leads {
				value = modelDelete(value, p[1:])
			}
			rest = append(rest, value)
		}
		return rest
	}
	return v
}

func modelSet(v any, p path, value any) (any, bool) {
	if len(p) == 0 {
		return value, true
	}
	s := p[0]
	if v == nil && s.kind == appending {
		v = []any{}
	} else if v == nil {
		v = map[string]any{}
	}
	var ok bool
	switch at := v.(type) {
	case map[string]any:
		if s.kind == appending {
			return nil, false
		}
		at[s.name], ok = modelSet(at[s.name], p[1:], value)
		return at, ok
	case []any:
		i := s.index
		if s.kind == appending {
			i = len(at)
			at = append(at, nil)
		}
		if i < 0 || i >= len(at) {
			return nil, false
		}
		at[i], ok = modelSet(at[i], p[1:], value)
		return at, ok
	}
	return nil, false
}

func modelRename(v any, from, to path) (any, bool) {
	value, ok := modelGet(v, from)
	if !ok {
		return v, true
	}
	return modelSet(modelDelete(v, from), to, value)
}

// node is a value with all of its members, also of the same name.
type node struct {
	names  []string
	values []*node
	object bool
	raw    string
}

func parseNode(t testing.TB, d *json.Decoder, text []byte) *node {
	t.Helper()
	token, err := d.Token()
	if err != nil {
		t.Fatalf("%.200q: %v", text, err)
	}
	n := new(node)
	if delim, ok := token.(json.Delim); ok {
		n.object = delim == '{'
		for d.More() {
			name := ""
			if n.object {
				token, _ = d.Token()
				name = token.(string)
			}
			n.names = append(n.names, name)
			n.values = append(n.values, parseNode(t, d, text))
		}
		_, _ = d.Token()
	}
	end := int(d.InputOffset())
	n.raw = string(text[:end]) // up to its end
	return n
}

func tree(t testing.TB, text []byte) *node {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return parseNode(t, d, text)
}

// occurrences returns whatever the path leads to, by whichever of several members.
func (n *node) occurrences(p path) []*node {
	if len(p) == 0 {
		return []*node{n}
	}
	var found []*node
	for i, value := range n.values {
		s := p[0]
		if s.kind == every || s.kind == plainStep && (n.object && n.names[i] == s.name || !n.object && s.index == i) {
			found = append(found, value.occurrences(p[1:])...)
		}
	}
	return found
}

// unambiguous reports whether no object along the path has two members of the name.
func (n *node) unambiguous(p path) bool {
	for i := range p {
		if len(n.occurrences(p[:i+1])) > 1 {
			return false
		}
	}
	return true
}

// unchanged is how many bytes of the shorter text are in both, in front and at the end.
func unchanged(a, b []byte) int {
	front, back := 0, 0
	for front < min(len(a), len(b)) && a[front] == b[front] {
		front++
	}
	for back < min(len(a), len(b))-front && a[len(a)-1-back] == b[len(b)-1-back] {
		back++
	}
	return front + back
}

// editedBy returns what becomes of a text, and whether the edit could be made.
func editedBy(text []byte, do func(d *document) bool) ([]byte, bool) {
	d := &document{text: slices.Clone(text)}
	ok := do(d)
	return d.text, ok
}

// mustParse returns the path, of which the test knows that it is one.
func mustParse(t testing.TB, text string) path {
	t.Helper()
	p, err := parsePath(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
