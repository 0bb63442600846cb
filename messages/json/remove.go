package json

import "github.com/wsgateway/caddy-ws-gateway/messages/internal/jsontext"

// remover takes members and elements out of JSON, in place and in one go.
type remover struct {
	text []byte
	stay int // where a member begins that stays; 0 for none

	to   int // up to where text is done
	kept int // from where on it was not moved yet
}

// remove takes out what the path leads to from the value that begins there, and returns
// the end of the value as it was. It looks at nothing that it has moved.
func (r *remover) remove(at int, p path) (end int) {
	m, ok := member{}, false
	if c := r.text[at]; c == '{' || c == '[' {
		m, ok = first(r.text, at)
	}
	if !ok {
		return jsontext.Skip(r.text, at)
	}
	comma, staying := at, false
	for ok {
		before := comma
		leads := m.is(&p[0])
		if leads && len(p) > 1 {
			comma = m.leave(r.text, r.remove(m.value, p[1:]))
		} else {
			comma = m.leave(r.text, jsontext.Skip(r.text, m.value))
		}
		switch {
		case !leads || len(p) > 1 || m.begin == r.stay:
			staying = true
		case staying:
			r.cut(before, m.end)
		case m.next >= 0:
			r.cut(m.begin, m.next)
		default:
			r.cut(m.begin, m.end)
		}
		m, ok = m.following(r.text)
	}
	return comma + 1
}

func (r *remover) cut(from, to int) {
	if r.kept == 0 {
		r.to = from
	} else {
		r.to += copy(r.text[r.to:], r.text[r.kept:from])
	}
	r.kept = to
}

// rest returns what is left.
func (r *remover) rest() []byte {
	if r.kept == 0 {
		return r.text
	}
	r.to += copy(r.text[r.to:], r.text[r.kept:])
	return r.text[:r.to]
}
