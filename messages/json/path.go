package json

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// path leads from the top of a document to a value.
type path []step

type step struct {
	kind  stepKind
	name  string
	index int    // in an array, or -1 for a name that is none
	open  string // the beginning of an object with such a member, or of an array
}

type stepKind uint8

const (
	plainStep stepKind = iota
	appending          // -1: behind the last element
	every              // *: all elements or members
)

// longest is the most steps that a path may have.
const longest = 64

// parsePath parses a path, whose names have dots between them and a backslash in front of
// characters that mean something.
func parsePath(text string) (path, error) {
	if text == "" {
		return nil, errors.New("the path is empty: write names with dots between them, as in user.id")
	}
	if !utf8.ValidString(text) {
		return nil, errors.New("the path is not valid UTF-8")
	}
	var p path
	for rest, more := text, true; more; {
		var s step
		var err error
		if s, rest, more, err = parseStep(rest); err != nil {
			return nil, fmt.Errorf("the path %q %w", text, err)
		}
		p = append(p, s)
	}
	if len(p) > longest {
		return nil, fmt.Errorf("the path has %d names: it may have %d", len(p), longest)
	}
	return p, nil
}

// parseStep parses up to the first dot, and returns what is behind it.
func parseStep(text string) (s step, rest string, more bool, err error) {
	var name strings.Builder
	escaped, wild, end := false, false, len(text)
scan:
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '.':
			end, rest, more = i, text[i+1:], true
			break scan
		case '\\':
			if i++; i == len(text) {
				return s, "", false, errors.New("ends with a backslash: write two for one")
			}
			escaped = true
			name.WriteByte(text[i])
		case '[', ']', '{', '}':
			return s, "", false, fmt.Errorf(`has a %c, which means nothing here: `+
				`write items.0 for an element, \%c for the character; paths have no placeholders`, c, c)
		case '*':
			wild = true
			name.WriteByte(c)
		default:
			name.WriteByte(c)
		}
	}
	s, err = makeStep(text[:end], name.String(), escaped, wild)
	return s, rest, more, err
}

func makeStep(spelled, name string, escaped, wild bool) (step, error) {
	s := step{name: name, index: -1, open: string(appendString([]byte{'{'}, name)) + ":"}
	switch {
	case name == "":
		return s, errors.New("has an empty name: write one dot between names, and none around them")
	case spelled == "*":
		s.kind = every
	case wild:
		return s, fmt.Errorf(`has a * in %q: a * stands for itself as \*, and alone for all elements and members`, spelled)
	case spelled == "#", spelled == "$":
		return s, fmt.Errorf(`has the name %s: write \%s if it is one; `+
			`paths begin with a name, and * stands for all elements`, spelled, spelled)
	case escaped:
	case name == "-1":
		s.kind, s.open = appending, "["
	case len(name) < 10 && (name == "0" || name[0] != '0') && strings.Trim(name, "0123456789") == "":
		s.index, _ = strconv.Atoi(name)
	}
	return s, nil
}

func (p path) has(kind stepKind) bool {
	return slices.ContainsFunc(p, func(s step) bool { return s.kind == kind })
}

// beside reports whether p and other lead to members of the same object or array, as far
// as paths can say that.
func (p path) beside(other path) bool {
	last := len(p) - 1
	return len(other) == len(p) && slices.Equal(p[:last], other[:last])
}
