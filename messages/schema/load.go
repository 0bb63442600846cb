package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// source is a schema in its files, all of which are read when it is compiled for the
// first time.
type source struct {
	location     string // URL of the file
	assertFormat bool
	documents    map[string]any // by URL
	complete     bool           // all that it takes has been read
}

// newSource is the schema in a file, whose path is relative to the working directory.
func newSource(file string, assertFormat bool) (*source, error) {
	if file == "" {
		return nil, errors.New("the path of a file is missing")
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // of Windows, which begin with a drive
	}
	location := url.URL{Scheme: "file", Path: path}
	return &source{location: location.String(), assertFormat: assertFormat, documents: make(map[string]any)}, nil
}

// Load implements jsonschema.URLLoader: it reads files only.
func (s *source) Load(location string) (any, error) {
	if document, ok := s.documents[location]; ok {
		return document, nil
	}
	if s.complete {
		return nil, errors.New("it was not read before")
	}
	path, err := filePath(location)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path) //nolint:gosec // operators name the file, and schemas those that they refer to
	if err != nil {
		return nil, err
	}
	document, _, fault := decode(data)
	if fault != nil {
		line, column := position(data, fault.offset)
		return nil, fmt.Errorf("line %d, column %d: %s", line, column, fault.what)
	}
	s.documents[location] = document
	return document, nil
}

// filePath is the path of the file that a URL names.
func filePath(location string) (string, error) {
	u, err := url.Parse(location)
	if err != nil {
		return "", err
	}
	if u.Scheme != "file" || u.Host != "" {
		return "", errors.New("schemas are read from local files only: save it beside the schema and refer to it by its relative path; an $id that is no file makes relative references remote as well")
	}
	path := u.Path
	if runtime.GOOS == "windows" {
		path = strings.TrimPrefix(path, "/")
	}
	return filepath.FromSlash(path), nil
}

// position is the line and the column of an offset, both from 1 and in bytes.
func position(data []byte, offset int) (line, column int) {
	before := string(data[:min(offset, len(data))])
	return 1 + strings.Count(before, "\n"), len(before) - strings.LastIndexByte(before, '\n')
}

// accepts is the location of a schema that accepts what the schema does not. Under a
// `not`, the validator stops at the first fault, and makes nothing of it.
const accepts = "urn:ws-gateway:accepts"

// compile returns a checker that is independent of others.
func (s *source) compile() (*checker, error) {
	compiler := jsonschema.NewCompiler()
	meter := new(meter)
	compiler.UseLoader(s)
	compiler.UseRegexpEngine(meter.compile)
	compiler.DefaultDraft(jsonschema.Draft2020)
	if s.assertFormat {
		compiler.AssertFormat()
	}
	whole, err := compiler.Compile(s.location)
	if err != nil {
		return nil, s.explain(err)
	}
	err = compiler.AddResource(accepts, map[string]any{"not": map[string]any{"$ref": s.location}})
	if err != nil {
		return nil, err
	}
	refused, err := compiler.Compile(accepts)
	if err != nil {
		return nil, s.explain(err)
	}
	c := &checker{meter: meter, whole: whole, refused: refused}
	c.meter.attach(append(s.anchored(compiler), refused)...)
	return c, c.endless()
}

// anchored are the schemas that have a $dynamicAnchor, which are reached from elsewhere
// without being referred to.
func (s *source) anchored(compiler *jsonschema.Compiler) (schemas []*jsonschema.Schema) {
	for read := -1; read < len(s.documents); { // which may go on with what they refer to
		read = len(s.documents)
		for _, location := range slices.Sorted(maps.Keys(s.documents)) {
			for _, place := range dynamicAnchors(s.documents[location], "") {
				// an error says that it is no schema, but a value that looks like one
				if schema, err := compiler.Compile(location + "#" + place); err == nil {
					schemas = append(schemas, schema)
				}
			}
		}
	}
	return schemas
}

// dynamicAnchors are the places in a document that have a $dynamicAnchor.
func dynamicAnchors(document any, at string) (places []string) {
	switch v := document.(type) {
	case map[string]any:
		if _, ok := v["$dynamicAnchor"].(string); ok {
			places = append(places, at)
		}
		for name, value := range v {
			places = append(places, dynamicAnchors(value, at+"/"+url.PathEscape(escape(name)))...)
		}
	case []any:
		for i, value := range v {
			places = append(places, dynamicAnchors(value, fmt.Sprintf("%s/%d", at, i))...)
		}
	}
	return places
}

// samples are a value of each type, for finding references that go round in circles.
var samples = [...]any{nil, true, json.Number("0"), "", []any{}, map[string]any{}}

// endless returns an error if the schema refers to itself without looking at a part of
// the value, which no value satisfies.
func (c *checker) endless() error {
	for _, sample := range samples {
		if invalid, ok := errors.AsType[*jsonschema.ValidationError](c.whole.Validate(sample)); ok {
			if cycle := refCycle(invalid); cycle != nil {
				return fmt.Errorf("at %s: a reference leads back to itself", readable(cycle.SchemaURL))
			}
		}
	}
	return nil
}

func refCycle(e *jsonschema.ValidationError) *jsonschema.ValidationError {
	if _, ok := e.ErrorKind.(*kind.RefCycle); ok {
		return e
	}
	for _, cause := range e.Causes {
		if found := refCycle(cause); found != nil {
			return found
		}
	}
	return nil
}

// explain says in which file and where in it a schema is wrong.
func (s *source) explain(err error) error {
	var (
		load    *jsonschema.LoadURLError
		invalid *jsonschema.SchemaValidationError
		regex   *jsonschema.InvalidRegexError
		fault   *jsonschema.ValidationError
	)
	switch {
	case errors.As(err, &load) && load.URL == s.location:
		return load.Err
	case errors.As(err, &load):
		return fmt.Errorf("%s to %s: %w", s.referrer(load.URL), readable(load.URL), load.Err)
	case errors.As(err, &regex):
		return fmt.Errorf("at %s: %s", readable(regex.URL), unsupported(regex.Regex, regex.Err))
	case errors.As(err, &invalid) && errors.As(invalid.Err, &fault):
		leaf, _ := pick(fault)
		leaf = keyword(leaf)
		return fmt.Errorf("at %s%s: %s", readable(invalid.URL), pointer(leaf.InstanceLocation), schemaFault(leaf))
	}
	return errors.New(strings.ReplaceAll(err.Error(), "file://", ""))
}

// keyword is the fault to tell where a keyword may have values of several kinds, such as a
// type and a list of types: that it has a value which is none of those allowed, if it has.
func keyword(e *jsonschema.ValidationError) *jsonschema.ValidationError {
	if _, several := e.ErrorKind.(*kind.AnyOf); !several {
		return e
	}
	found := e
	for _, cause := range e.Causes {
		leaf, _ := pick(cause)
		_, enum := leaf.ErrorKind.(*kind.Enum)
		if enum && (found == e || len(leaf.InstanceLocation) > len(found.InstanceLocation)) {
			found = leaf
		}
	}
	return found
}

// schemaFault says what is wrong with a schema, values included.
func schemaFault(leaf *jsonschema.ValidationError) string {
	switch k := leaf.ErrorKind.(type) {
	case *kind.Format:
		if k.Want == "regex" {
			return unsupported(k.Got, k.Err)
		}
		return fmt.Sprintf("%q is no %s: %s", k.Got, k.Want, k.Err)
	case *kind.Enum:
		allowed := make([]string, len(k.Want))
		for i, value := range k.Want {
			allowed[i] = fmt.Sprint(value)
		}
		return fmt.Sprintf("%v is none of %s", k.Got, strings.Join(allowed, ", "))
	}
	return words(leaf.ErrorKind)
}

// unsupported says that a pattern is none for Go.
func unsupported(pattern any, err error) string {
	what := strings.TrimPrefix(err.Error(), "error parsing regexp: ")
	return fmt.Sprintf("the pattern %q is not supported: %s (patterns are RE2, https://golang.org/s/re2syntax)", pattern, what)
}

// readable is a location as a path and what is behind the number sign, if it is a file.
func readable(location string) string {
	before, after, _ := strings.Cut(location, "#")
	if path, err := filePath(before); err == nil {
		before = path
	}
	if unescaped, err := url.PathUnescape(after); err == nil {
		after = unescaped
	}
	return before + "#" + after
}
