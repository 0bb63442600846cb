package expression

import (
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// object is a JSON object whose members are read when they are looked for.
type object struct {
	raw   []byte // from its brace to the end of the document
	looks int
	level traits.Mapper // of values that are read lazily; nil until needed
	whole traits.Mapper // nil until needed
}

// Find is part of traits.Mapper.
func (o *object) Find(key ref.Val) (ref.Val, bool) {
	name, isString := key.(types.String)
	if !isString {
		return nil, false
	}
	if o.looks++; o.level != nil || o.looks > looksUntilRead {
		return o.members().Find(key)
	}
	var last []byte
	for quoted, raw := range members(o.raw) {
		if same(quoted, string(name)) {
			last = raw
		}
	}
	if last == nil {
		return nil, false
	}
	return value(last), true
}

// same reports whether the quoted string says text.
func same(quoted []byte, says string) bool {
	// an escape is longer than what it stands for, and U+FFFD than most of what it replaces
	if len(quoted)-2 == len(says) && view(quoted[1:len(quoted)-1]) == says {
		return true
	}
	return text(quoted) == says
}

// members are the members with their values, which are read lazily.
func (o *object) members() traits.Mapper {
	if o.level == nil {
		read := make(map[ref.Val]ref.Val)
		for quoted, raw := range members(o.raw) {
			read[types.String(text(quoted))] = value(raw)
		}
		o.level = types.NewRefValMap(adapter{}, read)
	}
	return o.level
}

func (o *object) decoded() ref.Val {
	if o.whole == nil {
		decoded := decode(o.raw)
		whole, isMap := decoded.(traits.Mapper)
		if !isMap {
			return decoded
		}
		o.whole = whole
	}
	return o.whole
}

// Get is part of traits.Mapper.
func (o *object) Get(key ref.Val) ref.Val {
	if v, found := o.Find(key); found {
		return v
	}
	return types.NewErr("no such key")
}

// Contains is part of traits.Mapper.
func (o *object) Contains(key ref.Val) ref.Val {
	_, found := o.Find(key)
	return types.Bool(found)
}

// Iterator is part of traits.Mapper.
func (o *object) Iterator() traits.Iterator { return o.members().Iterator() }

// Size is part of traits.Mapper.
func (o *object) Size() ref.Val { return o.members().Size() }

// Equal is part of ref.Val.
func (o *object) Equal(other ref.Val) ref.Val { return o.decoded().Equal(settled(other)) }

// ConvertToNative is part of ref.Val.
func (o *object) ConvertToNative(to reflect.Type) (any, error) {
	return o.decoded().ConvertToNative(to)
}

// ConvertToType is part of ref.Val.
func (o *object) ConvertToType(to ref.Type) ref.Val { return o.decoded().ConvertToType(to) }

// Type is part of ref.Val.
func (o *object) Type() ref.Type { return types.MapType }

// Value is part of ref.Val.
func (o *object) Value() any { return o.decoded().Value() }
