package schema

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

const (
	longestText = 123  // the most bytes that a reason has (RFC 6455, section 5.5)
	longestPath = 1000 // bytes
)

// fault is what is wrong at a place.
func fault(path, what string) messages.Fault {
	path = plain(path)
	text := plain(what)
	if path != "" {
		text = shorten(path, max(20, longestText-len(": ")-len(text))) + ": " + text
	}
	return messages.Fault{Text: shorten(text, longestText), Path: shorten(path, longestPath)}
}

// plain replaces what could not stand as it is in a JSON string, so that a template may
// have it between quotes.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '"' || r == '\\' || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// shorten cuts a text to at most this many bytes.
func shorten(s string, most int) string {
	const mark = "…"
	if len(s) <= most {
		return s
	}
	end := most - len(mark)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + mark
}

// pointer is a location as a JSON pointer (RFC 6901).
func pointer(location []string) string {
	var b strings.Builder
	for _, name := range location {
		b.WriteByte('/')
		b.WriteString(escape(name))
	}
	return b.String()
}

func escape(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}

// pick returns the fault to tell among those that the validator has found, and how many
// there are: the first in the message; of alternatives, that of the one with the fewest
// faults, or that there are alternatives.
func pick(e *jsonschema.ValidationError) (leaf *jsonschema.ValidationError, faults int) {
	switch e.ErrorKind.(type) {
	case *kind.Contains, *kind.MinContains, *kind.PropertyNames, *kind.ContentSchema:
		return e, 1
	case *kind.AnyOf, *kind.OneOf:
		return pickAlternative(e)
	}
	if len(e.Causes) == 0 {
		return e, 1
	}
	for _, cause := range e.Causes {
		candidate, n := pick(cause)
		faults += n
		if leaf == nil || before(candidate, leaf) {
			leaf = candidate
		}
	}
	return leaf, faults
}

func pickAlternative(e *jsonschema.ValidationError) (leaf *jsonschema.ValidationError, faults int) {
	several := false
	for _, cause := range e.Causes {
		candidate, n := pick(cause)
		several = several || n == faults
		if leaf == nil || n < faults {
			leaf, faults, several = candidate, n, false
		}
	}
	if leaf == nil || several {
		return e, max(faults, 1)
	}
	return leaf, faults
}

// before orders faults by place, and those at the same place by what they say.
func before(a, b *jsonschema.ValidationError) bool {
	order := slices.CompareFunc(a.InstanceLocation, b.InstanceLocation, compareNames)
	if order == 0 {
		order = strings.Compare(words(a.ErrorKind), words(b.ErrorKind))
	}
	return order < 0
}

// compareNames has shorter numbers before longer ones.
func compareNames(a, b string) int {
	if len(a) != len(b) && isIndex(a) && isIndex(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// isIndex reports whether a name is one that items have.
func isIndex(name string) bool { return name != "" && strings.Trim(name, "0123456789") == "" }

// words says what is wrong, without a value of the message or of the schema: a schema
// may have secrets in const and enum.
func words(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Type:
		return fmt.Sprintf("is %s, not %s", k.Got, strings.Join(k.Want, " or "))
	case *kind.Const:
		return errConst.Error()
	case *kind.Enum:
		return errEnum.Error()
	case *kind.Format:
		if ofType := new(typeError); errors.As(k.Err, &ofType) || errors.Is(k.Err, errConst) || errors.Is(k.Err, errEnum) {
			return k.Err.Error()
		}
		return "is no " + k.Want
	case *kind.FalseSchema:
		return "is not allowed"
	case *kind.Not:
		return "is what not excludes"
	case *kind.AnyOf:
		return "matches none of anyOf"
	case *kind.OneOf:
		if len(k.Subschemas) > 0 {
			return "matches more than one of oneOf"
		}
		return "matches none of oneOf"
	case *kind.Pattern:
		return "does not match pattern"
	case *kind.MultipleOf:
		return "is no multiple of " + number(k.Want)
	case *kind.Minimum:
		return "is less than " + number(k.Want)
	case *kind.ExclusiveMinimum:
		return "is not more than " + number(k.Want)
	case *kind.Maximum:
		return "is more than " + number(k.Want)
	case *kind.ExclusiveMaximum:
		return "is not less than " + number(k.Want)
	case *kind.MinLength:
		return fmt.Sprintf("has %d characters, not at least %d", k.Got, k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("has %d characters, not at most %d", k.Got, k.Want)
	}
	return wordsOfComposite(k)
}

// wordsOfComposite says what is wrong with an object or an array.
func wordsOfComposite(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Required:
		return "lacks " + names(k.Missing)
	case *kind.Dependency:
		return "lacks " + names(k.Missing) + " beside " + k.Prop
	case *kind.DependentRequired:
		return "lacks " + names(k.Missing) + " beside " + k.Prop
	case *kind.AdditionalProperties:
		return "may not have " + names(slices.Sorted(slices.Values(k.Properties)))
	case *kind.PropertyNames:
		return "has a name that is not allowed"
	case *kind.MinProperties:
		return fmt.Sprintf("has %d members, not at least %d", k.Got, k.Want)
	case *kind.MaxProperties:
		return fmt.Sprintf("has %d members, not at most %d", k.Got, k.Want)
	case *kind.MinItems:
		return fmt.Sprintf("has %d items, not at least %d", k.Got, k.Want)
	case *kind.MaxItems:
		return fmt.Sprintf("has %d items, not at most %d", k.Got, k.Want)
	case *kind.AdditionalItems:
		return fmt.Sprintf("has %d items too many", k.Count)
	case *kind.UniqueItems:
		return fmt.Sprintf("has items %d and %d that are equal", k.Duplicates[0], k.Duplicates[1])
	case *kind.Contains:
		return "has no item that contains asks for"
	case *kind.MinContains:
		return fmt.Sprintf("has %d items that contains asks for, not at least %d", len(k.Got), k.Want)
	case *kind.MaxContains:
		return fmt.Sprintf("has %d items that contains asks for, not at most %d", len(k.Got), k.Want)
	case *kind.RefCycle:
		return "is held against a schema that refers to itself"
	}
	return "is not valid"
}

// names are the first names of a list.
func names(list []string) string {
	if len(list) > 3 {
		return strings.Join(list[:3], ", ") + fmt.Sprintf(" and %d more", len(list)-3)
	}
	return strings.Join(list, ", ")
}

func number(r *big.Rat) string {
	if r.IsInt() {
		return r.Num().String()
	}
	f, _ := r.Float64()
	return strconv.FormatFloat(f, 'g', -1, 64)
}
