package schema

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// nested is a value in so many objects under the name a.
func nested(depth int, value string) string {
	return strings.Repeat(`{"a":`, depth) + value + strings.Repeat("}", depth)
}

// branching has twice the work for each level of a value, with and without being
// interested in more than whether it is valid.
const branching = `{"anyOf": [
	{"properties": {"a": {"$ref": "#"}}, "required": ["x"]},
	{"properties": {"a": {"$ref": "#"}}, "required": ["y"]}]}`

// branchingInOld is the same where a reference is all that there is to a schema.
const branchingInOld = `{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
	"properties": {"a": {"$ref": "#"}}, "patternProperties": {"^a": {"$ref": "#"}}, "required": ["x"]}`

func TestSchemaEndsAtTheDeadline(t *testing.T) {
	t.Parallel()
	for name, schema := range map[string]string{
		"alternatives": branching,
		"old drafts":   branchingInOld,
		"a dynamic anchor from elsewhere": `{"$id": "file:///o.json", "$ref": "#/$defs/list", "$defs": {
			"mine": {"$dynamicAnchor": "T", "properties": {"a": {"$dynamicRef": "#T"}}, "patternProperties": {"a": {"$dynamicRef": "#T"}}},
			"list": {"$id": "list", "$dynamicRef": "#T", "$defs": {"T": {"$dynamicAnchor": "T"}}}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := provisioned(t, schema, nil)
			m := new(messages.Message)
			start := time.Now()
			m.Begin(messages.FromClient, messages.Text, []byte(nested(200, "1")), start.Add(50*time.Millisecond))
			defer m.Finish()
			if _, err := s.HandleMessage(m); !errors.Is(err, errDeadline) {
				t.Fatalf("got %v", err)
			}
			if took := time.Since(start); took > time.Minute {
				t.Errorf("it took %v", took)
			}
			if got := handled(t, s, messages.Text, `"short"`); got.Kind == messages.KindReply {
				t.Errorf("the next message: %v", got)
			}
		})
	}
}

func TestSchemaLooksForThePlaceWithinBounds(t *testing.T) {
	t.Parallel()
	s := provisioned(t, `{"properties": {"a": {"$ref": "#"}}, "required": ["b"], "items": {"type": "string"}}`, nil)
	got := handled(t, s, messages.Text, nested(maxDepth, "1"))
	if got.Reason != "lacks b" {
		t.Errorf("deep: got %v", got)
	}
	if got := handled(t, s, messages.Text, nested(maxDepth+1, "1")); !strings.HasSuffix(got.Reason, "…: nested more than 1000 levels deep, at byte 5000") {
		t.Errorf("too deep: got %v", got)
	}
	if got := handled(t, s, messages.Text, strings.Repeat("[", 100_000)); got.Code != 1007 {
		t.Errorf("much too deep: got %v", got)
	}
	long := "[" + strings.Repeat(`"",`, mostSteps+1) + "1]"
	if got := handled(t, s, messages.Text, long); got.Reason != "is not valid, and too large for saying where" {
		t.Errorf("long: got %v", got)
	}
}

// shapes are arrays of nothing but arrays, which the validator's own uniqueItems gives
// the same hash if they have the same length.
func shapes(pairs int) []string {
	if pairs == 0 {
		return []string{""}
	}
	var all []string
	for inner := range pairs {
		for _, a := range shapes(inner) {
			for _, b := range shapes(pairs - 1 - inner) {
				all = append(all, strings.TrimSuffix("["+a+"],"+b, ","))
			}
		}
	}
	return all
}

func TestSchemaIsQuickWithManyItems(t *testing.T) {
	t.Parallel()
	s := provisioned(t, `{"uniqueItems": true}`, nil)
	var controls []string
	for i := range 1 << 16 {
		var item strings.Builder
		item.WriteString(`["`)
		for bit := range 16 {
			item.WriteString([]string{`\u0004`, `","`}[i>>bit&1])
		}
		controls = append(controls, item.String()+`"]`)
	}
	var numbers []string
	for i := range 100_000 {
		numbers = append(numbers, fmt.Sprint(i), fmt.Sprint(-1-i))
	}
	arrays := shapes(11)
	for i := range arrays {
		arrays[i] = "[" + arrays[i] + "]"
	}
	for name, items := range map[string][]string{"arrays": arrays, "control characters": controls, "numbers": numbers} {
		start := time.Now()
		if got := handled(t, s, messages.Text, "["+strings.Join(items, ",")+"]"); got.Kind != messages.KindPass {
			t.Errorf("%s: got %v", name, got)
		}
		if took := time.Since(start); took > time.Minute { // several, where each is compared with each
			t.Errorf("%d %s took %v", len(items), name, took)
		}
	}
}

// TestSchemaAgreesWithTheValidator holds what was put in the validator's place against
// the validator.
func TestSchemaAgreesWithTheValidator(t *testing.T) {
	t.Parallel()
	schemas := []string{
		order, branching, `{"uniqueItems": true}`, `{"items": {"enum": [1, 10, "a", null, [], {"a": [1]}, true]}}`,
		`{"const": {"a": [1.0, {"b": null}]}}`, `{"propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"$ref": "#"}}`,
		`{"contains": {"type": "integer"}, "minContains": 2, "unevaluatedItems": {"uniqueItems": true}}`,
		`{"$schema": "http://json-schema.org/draft-07/schema#", "items": {"const": 100}, "propertyNames": {"const": "a"}}`,
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, content := range schemas {
		s := provisioned(t, content, nil)
		compiler := jsonschema.NewCompiler()
		document, _, _ := decode([]byte(content))
		if err := compiler.AddResource("s.json", document); err != nil {
			t.Fatal(err)
		}
		theirs := compiler.MustCompile("s.json")
		for range 3000 {
			text := randomDocument(random, 4)
			value, _, err := decode([]byte(text))
			if err != nil {
				continue // a name twice
			}
			want := theirs.Validate(value)
			if got := handled(t, s, messages.Text, text); (got.Kind == messages.KindPass) != (want == nil) {
				t.Fatalf("%s\n%s:\ngot %v, the validator says %v", content, text, got, want)
			}
		}
	}
}

// randomDocument is a random document of few different values.
func randomDocument(r *rand.Rand, depth int) string {
	scalars := []string{"1", "1.0", "10e-1", "0.1e1", "10", "1e2", "100", "-1", "0", "-0.0", `"a"`, `"\u0061"`, `""`, "null", "true", "1.5"}
	if n := r.IntN(4); n > 1 || depth == 0 {
		return scalars[r.IntN(len(scalars))]
	} else if n == 1 {
		var items []string
		for range r.IntN(5) {
			items = append(items, randomDocument(r, depth-1))
		}
		return "[" + strings.Join(items, ",") + "]"
	}
	var members []string
	for range r.IntN(4) {
		members = append(members, fmt.Sprintf("%q:%s", []string{"a", "b", "op", "items", "tags", "one"}[r.IntN(6)], randomDocument(r, depth-1)))
	}
	return "{" + strings.Join(members, ",") + "}"
}

func TestSchemaIsForManyConnectionsAtOnce(t *testing.T) {
	t.Parallel()
	s := provisioned(t, order, nil)
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for i := range 50 {
				got := handled(t, s, messages.Text, fmt.Sprintf(`{"op":%d,"items":[1]}`, 6+i%2))
				if (got.Kind == messages.KindPass) != (i%2 == 1) {
					t.Errorf("%d: got %v", i, got)
				}
			}
		})
	}
	all.Wait()
}

func TestMeterLooksAtTheClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := new(meter)
		err := m.guarded(time.Now().Add(-1), 0, func() {
			for range stepsPerLook {
				m.step()
			}
		})
		if !errors.Is(err, errDeadline) {
			t.Errorf("got %v", err)
		}
	})
}

// TestMeterLooksAtTheClockInLongSteps has fewer steps than there are between looks.
func TestMeterLooksAtTheClockInLongSteps(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 2*bytesPerLook)
	var names []string
	for i := range 2000 {
		names = append(names, fmt.Sprintf(`"%d":0`, i))
	}
	for name, test := range map[string]struct{ schema, payload string }{
		"const":             {`{"const": {"a": 1}}`, `{"b":"` + long + `"}`},
		"enum":              {`{"enum": [[1]]}`, `["` + long + `"]`},
		"uniqueItems":       {`{"uniqueItems": true}`, `["` + long + `","a"]`},
		"pattern":           {`{"pattern": "y$"}`, `"` + long + `"`},
		"patternProperties": {`{"patternProperties": {"a": true}}`, "{" + strings.Join(names, ",") + "}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := provisioned(t, test.schema, nil)
			m := &messages.Message{Conn: new(messages.Connection)}
			m.Begin(messages.FromClient, messages.Text, []byte(test.payload), time.Now().Add(-1))
			defer m.Finish()
			if verdict, err := s.HandleMessage(m); !errors.Is(err, errDeadline) {
				t.Errorf("got %v, %v", verdict, err)
			}
		})
	}
}
