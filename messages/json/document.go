package json

import (
	"bytes"

	"github.com/wsgateway/caddy-ws-gateway/messages/internal/jsontext"
)

// document is JSON, found valid, that is being edited.
type document struct {
	text    []byte
	roomy   bool   // whether the capacity of text is the document's
	scratch []byte // what is put in
}

// room is how much more space than needed a text gets that has to grow.
const room = 256

// get returns where the value is that the path leads to. Of several members of a name, the
// last one counts.
func (d *document) get(p path) (begin, end int, ok bool) {
	at := jsontext.SkipSpace(d.text, 0)
	for i := range p {
		if c := d.text[at]; c != '{' && c != '[' {
			return 0, 0, false
		}
		m, count, _ := d.find(at, &p[i])
		if count == 0 {
			return 0, 0, false
		}
		at, end = m.value, m.end
	}
	return at, end, true
}

// delete takes out everything that the path leads to.
func (d *document) delete(p path) {
	r := remover{text: d.text}
	r.remove(jsontext.SkipSpace(d.text, 0), p)
	d.text = r.rest()
}

// set sets the value that the path leads to, and makes what is missing of the path. Of
// several members of a name, the last one stays. It reports whether the path can be gone.
func (d *document) set(p path, value []byte) bool {
	at, end := jsontext.SkipSpace(d.text, 0), 0
	for i := range p {
		switch c, s := d.text[at], &p[i]; {
		case c == '{' && s.kind == plainStep, c == '[' && (s.kind == appending || s.index >= 0):
		case c == 'n':
			d.replace(at, at+len("null"), d.compose(p[i].open[:1], p[i:], value))
			return true
		default:
			return false
		}
		m, count, behind := d.find(at, &p[i])
		if count == 0 {
			return d.insert(at, behind, p[i:], value)
		}
		if count > 1 {
			m = d.unite(at, p[i:i+1], m)
		}
		at, end = m.value, m.end
	}
	if !bytes.Equal(d.text[at:end], value) {
		d.replace(at, end, value)
	}
	return true
}

// rename moves the value that one path leads to, if there is one, to another, in place of
// what is there. It reports whether that path can be gone.
func (d *document) rename(from, to path) bool {
	begin, end, ok := d.get(from)
	if !ok {
		d.delete(from) // from members that count for nothing
		return true
	}
	if from.beside(to) && to[len(to)-1].kind == plainStep && d.renameMember(from, to) {
		return true
	}
	d.scratch = append(d.scratch[:0], d.text[begin:end]...)
	value := d.scratch
	d.delete(from)
	if !d.set(to, value) {
		return false
	}
	deeper := len(to) > len(from) && len(value) > jsontext.Deepest-longest
	return !deeper || jsontext.Valid(d.text)
}

// renameMember gives the member of an object another name where it stands, or does nothing
// and returns false if it is an element of an array.
func (d *document) renameMember(from, to path) bool {
	last := len(from) - 1
	if begin, _, _ := d.get(from[:last]); d.text[begin] != '{' {
		return false
	}
	at := jsontext.SkipSpace(d.text, 0)
	for i := range from[:last] {
		m, count, _ := d.find(at, &from[i])
		if count > 1 {
			m = d.unite(at, from[i:i+1], m)
		}
		at = m.value
	}
	r := remover{text: d.text}
	r.remove(at, to[last:])
	d.text = r.rest()
	m, count, _ := d.find(at, &from[last])
	if count > 1 {
		m = d.unite(at, from[last:], m)
	}
	d.scratch = append(d.scratch[:0], to[last].open[1:len(to[last].open)-1]...)
	d.replace(m.begin, m.begin+len(m.name)+2, d.scratch)
	return true
}

// find returns the last member of the array or object to which the step leads, and how
// many there are; and where another one can be put.
func (d *document) find(at int, s *step) (last member, count, behind int) {
	behind = at + 1
	m, ok := first(d.text, at)
	for ok {
		m.leave(d.text, jsontext.Skip(d.text, m.value))
		behind = m.end
		if m.is(s) {
			last = m
			if count++; m.name == nil {
				return last, count, behind
			}
		}
		m, ok = m.following(d.text)
	}
	return last, count, behind
}

// unite takes out the members that the step leads to except for the last one, and returns
// that.
func (d *document) unite(at int, s path, last member) member {
	r := remover{text: d.text, stay: last.begin}
	r.remove(at, s)
	moved := len(d.text) - len(r.rest())
	d.text = d.text[:len(d.text)-moved]
	last.begin -= moved
	last.value -= moved
	last.end -= moved
	last.name = d.text[last.begin+1 : last.begin+1+len(last.name)]
	return last
}

// insert puts a member into an object, or an element at the end of an array. It reports
// whether it can.
func (d *document) insert(at, behind int, p path, value []byte) bool {
	if d.text[at] == '[' && p[0].kind != appending {
		return false // there is no such element
	}
	lead := ""
	if behind > at+1 {
		lead = ","
	}
	d.replace(behind, behind, d.compose(lead, p, value))
	return true
}

// compose returns the value with the objects and arrays of the path around it, behind the
// value in scratch. The lead stands for the outermost bracket, which is closed if it is one.
func (d *document) compose(lead string, p path, value []byte) []byte {
	with := append(value, lead...)
	for i := range p {
		open := p[i].open
		if i == 0 {
			open = open[1:]
		}
		with = append(with, open...)
	}
	with = append(with, with[:len(value)]...)
	for i := len(p) - 1; i > 0; i-- {
		with = append(with, closing(p[i].open[0]))
	}
	if lead != "" && lead != "," {
		with = append(with, closing(lead[0]))
	}
	d.scratch = with[:0]
	return with[len(value):]
}

// closing returns the bracket that closes another one.
func closing(open byte) byte { return open + 2 }

// replace puts something else in place of a part of the text.
func (d *document) replace(from, to int, with []byte) {
	size := len(d.text) + len(with) - (to - from)
	if size > len(d.text) && (!d.roomy || cap(d.text) < size) {
		text := make([]byte, 0, size+room)
		text = append(append(text, d.text[:from]...), with...)
		d.text, d.roomy = append(text, d.text[to:]...), true
		return
	}
	rest := d.text[to:]
	d.text = d.text[:max(size, len(d.text))]
	copy(d.text[from+len(with):], rest)
	copy(d.text[from:], with)
	d.text = d.text[:size]
}
