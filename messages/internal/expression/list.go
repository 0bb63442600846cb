package expression

import (
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// list is a JSON array whose elements are read when they are looked for.
type list struct {
	raw   []byte // from its bracket to the end of the document
	looks int
	level traits.Lister // of values that are read lazily; nil until needed
	whole traits.Lister // nil until needed
}

// Get is part of traits.Lister.
func (l *list) Get(index ref.Val) ref.Val {
	if l.looks++; l.level != nil || l.looks > looksUntilRead {
		return l.elements().Get(index)
	}
	wanted, err := types.IndexOrError(index)
	if err != nil {
		return types.WrapErr(err)
	}
	at := 0
	for raw := range elements(l.raw) {
		if at == wanted {
			return value(raw)
		}
		at++
	}
	return types.NewErr("index out of bounds: %d", wanted)
}

// Size is part of traits.Lister.
func (l *list) Size() ref.Val {
	if l.looks++; l.level != nil || l.looks > looksUntilRead {
		return l.elements().Size()
	}
	size := 0
	for range elements(l.raw) {
		size++
	}
	return types.Int(size)
}

// elements are the elements, which are read lazily.
func (l *list) elements() traits.Lister {
	if l.level == nil {
		var read []ref.Val
		for raw := range elements(l.raw) {
			read = append(read, value(raw))
		}
		l.level = types.NewRefValList(adapter{}, read)
	}
	return l.level
}

func (l *list) decoded() ref.Val {
	if l.whole == nil {
		decoded := decode(l.raw)
		whole, isList := decoded.(traits.Lister)
		if !isList {
			return decoded
		}
		l.whole = whole
	}
	return l.whole
}

// Add is part of traits.Lister.
func (l *list) Add(other ref.Val) ref.Val { return l.elements().Add(other) }

// Contains is part of traits.Lister.
func (l *list) Contains(v ref.Val) ref.Val {
	if l.looks++; l.level != nil || l.looks > looksUntilRead {
		return l.elements().Contains(v)
	}
	for raw := range elements(l.raw) {
		if types.Equal(value(raw), v) == types.True {
			return types.True
		}
	}
	return types.False
}

// Iterator is part of traits.Lister.
func (l *list) Iterator() traits.Iterator { return l.elements().Iterator() }

// Equal is part of ref.Val.
func (l *list) Equal(other ref.Val) ref.Val { return l.decoded().Equal(settled(other)) }

// ConvertToNative is part of ref.Val.
func (l *list) ConvertToNative(to reflect.Type) (any, error) { return l.decoded().ConvertToNative(to) }

// ConvertToType is part of ref.Val.
func (l *list) ConvertToType(to ref.Type) ref.Val { return l.decoded().ConvertToType(to) }

// Type is part of ref.Val.
func (l *list) Type() ref.Type { return types.ListType }

// Value is part of ref.Val.
func (l *list) Value() any { return l.decoded().Value() }
