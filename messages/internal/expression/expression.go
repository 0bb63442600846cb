// Package expression evaluates expressions about messages, in the Common Expression
// Language (CEL).
package expression

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// Expression is a condition on messages. It may be evaluated by several goroutines at
// the same time.
type Expression struct {
	program      cel.Program
	loops        bool // whether it goes over lists or maps
	needsPayload bool
	variables    bool
	placeholders []placeholder // by the number in the name of the variable
}

// Compile makes an expression of its source, which must be of type bool. The error
// says the line and the column.
func Compile(source string) (*Expression, error) {
	if strings.TrimSpace(source) == "" {
		return nil, errors.New("the expression is empty")
	}
	readable, placeholders := substitute(source)
	for _, p := range placeholders {
		if err := messages.ParseTemplate("{" + p.name + "}").Validate(); err != nil {
			return nil, err
		}
	}
	env, err := environment(placeholders)
	if err != nil {
		return nil, err
	}
	checked, issues := env.Compile(readable)
	if issues.Err() != nil {
		return nil, explain(source, issues)
	}
	found, err := look(checked, placeholders)
	if err != nil {
		return nil, err
	}
	if checked.OutputType() != cel.BoolType {
		return nil, fmt.Errorf("the expression gives %s and not bool: compare it with something", checked.OutputType())
	}
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if found.loops {
		options = append(options, cel.CustomDecoratorV2(metered), cel.InterruptCheckFrequency(1))
	}
	program, err := env.Program(checked, options...)
	if err != nil {
		return nil, err
	}
	return &Expression{program, found.loops, found.needsPayload, found.variables, placeholders}, nil
}

// Placeholders are those that the request has to tell, as [messages.PlaceholderUser]
// returns them.
func (e *Expression) Placeholders() []string {
	names := make([]string, 0, len(e.placeholders))
	for _, p := range e.placeholders {
		names = append(names, messages.ParseTemplate("{"+p.name+"}").Placeholders()...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// NeedsPayload reports whether the expression uses what is in a message, or its size.
func (e *Expression) NeedsPayload() bool { return e.needsPayload }

// HasVariables reports whether the expression uses a variable or a placeholder.
func (e *Expression) HasVariables() bool { return e.variables }

// Holds reports whether the expression is true of the message. It is not where it has
// no value: where it selects what is not there, or compares what cannot be compared. An
// error is about an evaluation that was cut short.
func (e *Expression) Holds(m *messages.Message) (bool, error) {
	v := borrow(m, e.placeholders)
	defer v.giveBack()
	var result ref.Val
	var err error
	if e.loops {
		result, _, err = e.program.ContextEval(m.Context(), v)
	} else {
		// what does not loop is done before a timer would have been set
		result, _, err = e.program.Eval(v)
	}
	if err == nil {
		return result == types.True, nil
	}
	// what CEL says may have a part of the message in it
	var cancelled interpreter.EvalCancelledError
	var novalue *types.Err
	switch {
	case errors.Is(err, interpreter.InterruptError{}):
		return false, errors.New("the expression takes too long for this message")
	case errors.As(err, &cancelled):
		return false, fmt.Errorf("the expression costs more than %d for this message", uint64(costLimit))
	case errors.As(err, &novalue):
		return false, nil
	}
	return false, errors.New("the expression cannot be evaluated for this message")
}
