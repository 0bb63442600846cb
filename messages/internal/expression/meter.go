package expression

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
)

// costLimit is what an evaluation may cost: a look at a variable is one, and so is a
// call of a function; texts cost by their length, what functions make of them in full.
// (CEL can count by itself, but takes a time that grows with the square of the rounds.)
const costLimit = 5_000_000

// readPerCost is how many bytes of a variable's text can be gone through for one.
const readPerCost = 16

// meterName is the name under which parts of a program find the meter.
const meterName = "@meter"

// meter counts what an evaluation costs.
type meter struct{ cost uint64 }

// charge ends the evaluation where it costs too much.
func charge(vars cel.Activation, cost int) {
	found, _ := vars.ResolveName(meterName)
	m, isMeter := found.(*meter)
	if !isMeter {
		return
	}
	if m.cost += uint64(cost); m.cost > costLimit {
		// as CEL's own count does: an error could be overruled by an || behind it
		panic(interpreter.EvalCancelledError{Cause: interpreter.CostLimitExceeded, Message: "too expensive"})
	}
}

// length is how many bytes a text has.
func length(v any) int {
	switch v := v.(type) {
	case types.String:
		return len(v)
	case types.Bytes:
		return len(v)
	}
	return 0
}

// metered adds the meter to a part of a program.
func metered(part interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	switch part := part.(type) {
	case interpreter.InterpretableAttribute:
		return &meteredVariable{part}, nil
	case interpreter.InterpretableCall:
		// those that CEL may replace by something faster have arguments that cost
		name := part.Function()
		if name == overloads.Matches || overloads.IsTypeConversionFunction(name) {
			return part, nil
		}
		if name == operators.In {
			if _, isConst := part.Args()[1].(interpreter.InterpretableConst); isConst {
				return part, nil
			}
		}
		return &meteredCall{part}, nil
	}
	return part, nil
}

type meteredVariable struct {
	interpreter.InterpretableAttribute
}

// AddQualifier is part of interpreter.InterpretableAttribute.
func (v *meteredVariable) AddQualifier(q interpreter.Qualifier) (interpreter.Attribute, error) {
	_, err := v.InterpretableAttribute.AddQualifier(q)
	return v, err
}

// Exec is part of interpreter.InterpretableV2.
func (v *meteredVariable) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	result := v.InterpretableAttribute.Exec(frame)
	charge(frame, 1+length(result)/readPerCost)
	return result
}

// Eval is part of interpreter.Interpretable.
func (v *meteredVariable) Eval(vars cel.Activation) ref.Val {
	return v.Exec(interpreter.AsFrame(vars))
}

// Resolve is part of interpreter.InterpretableAttribute.
func (v *meteredVariable) Resolve(vars cel.Activation) (any, error) {
	result, err := v.InterpretableAttribute.Resolve(vars)
	charge(vars, 1+length(result)/readPerCost)
	return result, err
}

type meteredCall struct {
	interpreter.InterpretableCall
}

// Exec is part of interpreter.InterpretableV2.
func (c *meteredCall) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	result := c.InterpretableCall.Exec(frame)
	cost := 1 + length(result)
	if c.Function() == "split" {
		cost += readPerCost * elementsOf(result)
	}
	charge(frame, cost)
	return result
}

// elementsOf is how many elements a list has.
func elementsOf(v ref.Val) int {
	list, isList := v.(traits.Lister)
	if !isList {
		return 0
	}
	size, _ := list.Size().(types.Int)
	return int(size)
}

// Eval is part of interpreter.Interpretable.
func (c *meteredCall) Eval(vars cel.Activation) ref.Val {
	return c.Exec(interpreter.AsFrame(vars))
}
