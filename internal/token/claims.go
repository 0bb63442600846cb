package token

import (
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/strictjson"
)

// claims are what a token says about its user.
type claims struct{ strictjson.Object }

// lookup finds a claim by its name, or by a path of names with dots between them. A
// name that has dots itself comes first, and then the path with the shortest first
// name. Every look at a configured claim goes through lookup.
func (c claims) lookup(path string) strictjson.Value {
	if v := c.Get(path); v != nil {
		return v
	}
	for i := range len(path) {
		if path[i] != '.' {
			continue
		}
		inner, ok := c.Get(path[:i]).Object()
		if !ok {
			continue
		}
		if v := (claims{inner}).lookup(path[i+1:]); v != nil {
			return v
		}
	}
	return nil
}

// maxSeconds is the end of the year 9999, which is as good as never.
const maxSeconds = 253402300799

// date reads a NumericDate (RFC 7519, section 2). ok is false where the claim
// is there and is none.
func (c claims) date(name string) (at time.Time, present, ok bool) {
	v := c.Get(name)
	if v == nil {
		return time.Time{}, false, true
	}
	number, isNumber := v.Number()
	if !isNumber {
		return time.Time{}, true, false
	}
	seconds, err := strconv.ParseFloat(number, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, true, false
	}
	whole, fraction := math.Modf(min(seconds, maxSeconds))
	return time.Unix(int64(whole), int64(fraction*float64(time.Second))), true, true
}

// dateOrNull is date for a claim that issuers write null for where they have none.
func (c claims) dateOrNull(name string) (at time.Time, present, ok bool) {
	if c.Get(name).IsNull() {
		return time.Time{}, false, true
	}
	return c.date(name)
}

// hasAny reports whether the claim, a string or a list of strings, holds one of
// the values.
func (c claims) hasAny(name string, values []string) bool {
	v := c.Get(name)
	if elements, ok := v.Elements(); ok {
		return slices.ContainsFunc(elements, func(e strictjson.Value) bool { return isAny(e, values) })
	}
	return isAny(v, values)
}

func isAny(v strictjson.Value, values []string) bool {
	return slices.ContainsFunc(values, v.Is)
}

// userID is the claim that names the user; ok is false where it is there and
// cannot be a name.
func (c claims) userID(claim string) (id string, ok bool) {
	v := c.lookup(claim)
	if v == nil {
		return "", true
	}
	id, ok = scalar(v)
	return id, ok && !HasControlChars(id)
}

// scalar is the text of a string, a number or a boolean.
func scalar(v strictjson.Value) (string, bool) {
	if s, ok := v.Text(); ok {
		return s, true
	}
	if s, ok := v.Number(); ok {
		return s, true
	}
	_, ok := v.Bool()
	return string(v), ok
}

// each calls set for every claim that can stand in a header, by the name that
// lookup finds it by.
func (c claims) each(set func(name, value string)) {
	found := make(map[string]strictjson.Value, len(c.Object))
	c.walk("", func(name string, v strictjson.Value) {
		if _, another := found[name]; another { // names with dots, and a path of the same look
			v = c.lookup(name)
		}
		found[name] = v
	})
	for name, v := range found {
		if value, ok := scalar(v); ok && !HasControlChars(value) {
			set(name, value)
		}
	}
}

// walk calls visit for every claim, and for every claim in an object by its path.
func (c claims) walk(prefix string, visit func(name string, v strictjson.Value)) {
	for _, m := range c.Object {
		name := prefix + string(m.Name)
		visit(name, m.Value)
		if inner, ok := m.Value.Object(); ok {
			claims{inner}.walk(name+".", visit)
		}
	}
}
