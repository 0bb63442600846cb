package schema

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// meter bounds what the validator does for one message. The work may grow exponentially
// with the depth of a message where alternatives of a schema refer to each other, and
// the validator itself knows no bounds. What exceeds them is unwound by a panic that
// guarded contains.
type meter struct {
	deadline time.Time // zero for none
	steps    int
	most     int // steps; 0 for any number
	bytes    int // gone through since the last look at the clock
}

// spent is the panic of a meter.
type spent struct{ err error }

var (
	errDeadline = errors.New("validation takes longer than the budget of the message")
	errSteps    = errors.New("too many steps")
)

// How many steps are taken, and bytes gone through, between looks at the clock.
const (
	stepsPerLook = 64
	bytesPerLook = 64 << 10
)

// step counts that a value is held against a schema.
func (m *meter) step() {
	m.steps++
	if m.most > 0 && m.steps > m.most {
		panic(spent{errSteps})
	}
	if m.steps%stepsPerLook == 0 {
		m.look()
	}
}

// through counts bytes that one step has to go through.
func (m *meter) through(bytes int) {
	if m.bytes += bytes; m.bytes >= bytesPerLook {
		m.look()
	}
}

func (m *meter) look() {
	m.bytes = 0
	if !m.deadline.IsZero() && time.Now().After(m.deadline) {
		panic(spent{errDeadline})
	}
}

// pattern is a regular expression of a schema, which names and texts are held against.
type pattern struct {
	*regexp.Regexp
	meter *meter
}

// MatchString implements jsonschema.Regexp. A pattern takes long even for short names.
func (p pattern) MatchString(s string) bool {
	p.meter.through(64 + len(s))
	return p.Regexp.MatchString(s)
}

// compile is the regular expressions' jsonschema.RegexpEngine.
func (m *meter) compile(expression string) (jsonschema.Regexp, error) {
	compiled, err := regexp.Compile(expression)
	if err != nil {
		return nil, err
	}
	return pattern{compiled, m}, nil
}

// guarded calls f with bounds, and returns an error if it exceeds them.
func (m *meter) guarded(deadline time.Time, most int, f func()) (err error) {
	m.deadline, m.steps, m.most, m.bytes = deadline, 0, most, 0
	defer func() {
		switch r := recover().(type) {
		case nil:
		case spent:
			err = r.err
		default:
			panic(r)
		}
	}()
	f()
	return nil
}

// attach has the meter count the steps of compiled schemas and of all that they refer
// to, and puts checks of ours in the place of those that a message could make costly.
func (m *meter) attach(schemas ...*jsonschema.Schema) {
	seen := map[*jsonschema.Schema]bool{nil: true}
	for len(schemas) > 0 {
		next := schemas[len(schemas)-1]
		schemas = schemas[:len(schemas)-1]
		if !seen[next] {
			seen[next] = true
			schemas = append(schemas, children(next)...)
			m.attachTo(next)
		}
	}
}

func (m *meter) attachTo(s *jsonschema.Schema) {
	if s.UniqueItems {
		s.UniqueItems = false
		s.Extensions = append(s.Extensions, uniqueItems{m})
	}
	if s.PropertyNames != nil {
		s.Extensions = append(s.Extensions, propertyNames{s.PropertyNames})
		s.PropertyNames = nil
	}
	s.Format = m.format(s)
}

// format is called before all else: it counts, and then checks the type, what const and
// enum say, and the format.
func (m *meter) format(s *jsonschema.Schema) *jsonschema.Format {
	var types []string
	if s.Types != nil {
		types = s.Types.ToStrings()
		s.Types = nil
	}
	var among []allowed
	if s.Const != nil {
		among = append(among, allow(errConst, *s.Const))
		s.Const = nil
	}
	if s.Enum != nil {
		among = append(among, allow(errEnum, s.Enum.Values...))
		s.Enum = nil
	}
	format := s.Format
	if format == nil {
		format = &jsonschema.Format{Validate: func(any) error { return nil }}
	} else if format.Name == "regex" {
		format = &jsonschema.Format{Name: "regex", Validate: validateRegex}
	}
	return &jsonschema.Format{Name: format.Name, Validate: func(v any) error {
		m.step()
		if len(types) > 0 && !ofType(v, types) {
			return &typeError{v, types}
		}
		for i := range among {
			if err := among[i].check(v, m); err != nil {
				return err
			}
		}
		return format.Validate(v)
	}}
}

// validateRegex parses a regular expression without compiling it, which for a few bytes
// may take a hundred megabytes.
func validateRegex(v any) error {
	s, ok := v.(string)
	if !ok {
		return nil
	}
	if len(s) > 1000 {
		return errors.New("longer than 1000 bytes")
	}
	_, err := syntax.Parse(s, syntax.Perl)
	return err
}

// uniqueItems is the keyword. The validator's own compares items with each other whose
// hashes are equal, and a message can be made so that those of all its items are.
type uniqueItems struct{ meter *meter }

// Validate implements jsonschema.SchemaExt.
func (u uniqueItems) Validate(ctx *jsonschema.ValidatorContext, v any) {
	items, ok := v.([]any)
	if !ok || len(items) < 2 {
		return
	}
	seen := make(map[string]int, len(items))
	var canonical []byte
	for i, item := range items {
		u.meter.step()
		canonical = appendCanonical(canonical[:0], item)
		u.meter.through(len(canonical))
		if j, twice := seen[string(canonical)]; twice {
			ctx.AddError(&kind.UniqueItems{Duplicates: [2]int{j, i}})
			return
		}
		seen[string(canonical)] = i
	}
}

// propertyNames is the keyword. The validator's own reports a wrong place.
type propertyNames struct{ schema *jsonschema.Schema }

// Validate implements jsonschema.SchemaExt.
func (p propertyNames) Validate(ctx *jsonschema.ValidatorContext, v any) {
	object, _ := v.(map[string]any)
	for name := range object {
		if ctx.Validate(p.schema, name, []string{name}) != nil {
			ctx.AddError(&kind.PropertyNames{Property: name})
			return
		}
	}
}

// children are the schemas that a schema refers to.
func children(s *jsonschema.Schema) []*jsonschema.Schema {
	all := []*jsonschema.Schema{
		s.Ref, s.RecursiveRef, s.Not, s.If, s.Then, s.Else, s.PropertyNames,
		s.UnevaluatedProperties, s.Contains, s.Items2020, s.UnevaluatedItems, s.ContentSchema,
	}
	if s.DynamicRef != nil {
		all = append(all, s.DynamicRef.Ref)
	}
	for _, list := range [][]*jsonschema.Schema{s.AllOf, s.AnyOf, s.OneOf, s.PrefixItems} {
		all = append(all, list...)
	}
	for _, named := range []map[string]*jsonschema.Schema{s.Properties, s.DependentSchemas} {
		for _, child := range named {
			all = append(all, child)
		}
	}
	for _, child := range s.PatternProperties {
		all = append(all, child)
	}
	several := append(make([]any, 0, 3+len(s.Dependencies)), s.AdditionalProperties, s.Items, s.AdditionalItems)
	for _, dependency := range s.Dependencies {
		several = append(several, dependency)
	}
	for _, some := range several {
		switch some := some.(type) {
		case nil, bool, []string:
		case *jsonschema.Schema:
			all = append(all, some)
		case []*jsonschema.Schema:
			all = append(all, some...)
		default:
			panic(fmt.Sprintf("a schema has a %T in it", some))
		}
	}
	return all
}
