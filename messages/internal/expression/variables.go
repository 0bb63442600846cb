package expression

import (
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// variables are the variables of one evaluation. They are made as they are asked for.
type variables struct {
	m            *messages.Message
	placeholders []placeholder
	json         ref.Val // nil until msg.json was asked for
	meter        meter
}

var pool = sync.Pool{New: func() any { return new(variables) }}

func borrow(m *messages.Message, placeholders []placeholder) *variables {
	v := pool.Get().(*variables)
	v.m, v.placeholders = m, placeholders
	return v
}

func (v *variables) giveBack() {
	*v = variables{}
	pool.Put(v)
}

// Parent is part of cel.Activation.
func (v *variables) Parent() cel.Activation { return nil }

// The values there are few of.
var (
	noText       ref.Val = types.String("")
	isText       ref.Val = types.String(messages.Text.String())
	isBinary     ref.Val = types.String(messages.Binary.String())
	fromClient   ref.Val = types.String(messages.FromClient.String())
	fromUpstream ref.Val = types.String(messages.FromUpstream.String())
)

// ResolveName is part of cel.Activation.
func (v *variables) ResolveName(name string) (any, bool) {
	switch name {
	case msgText:
		if v.m.Type != messages.Text {
			return noText, true
		}
		return types.String(view(v.m.Payload)), true
	case msgSize:
		return types.Int(v.m.Size()), true
	case msgType:
		if v.m.Type == messages.Binary {
			return isBinary, true
		}
		return isText, true
	case msgJSON:
		if v.json == nil {
			v.json = parse(v.m.Payload)
		}
		return v.json, true
	case msgBinary:
		return types.Bytes(v.m.Payload), true
	case direction:
		if v.m.Direction == messages.FromUpstream {
			return fromUpstream, true
		}
		return fromClient, true
	}
	return v.ofConnection(name)
}

// ofConnection resolves the names that have nothing to do with the message itself.
func (v *variables) ofConnection(name string) (any, bool) {
	c := v.m.Conn
	switch name {
	case meterName:
		return &v.meter, true
	case user:
		return types.String(c.UserID), true
	case connectionID:
		return types.String(c.ID), true
	case upstream:
		return types.String(c.Upstream), true
	case gateway:
		return types.String(c.Gateway), true
	case remoteIP:
		return types.String(c.RemoteIP), true
	}
	digits, found := strings.CutPrefix(name, variablePrefix)
	if !found {
		return nil, false
	}
	i, err := strconv.Atoi(strings.TrimRight(digits, "_"))
	if err != nil || i >= len(v.placeholders) {
		return nil, false
	}
	return types.String(messages.Value(v.m, v.placeholders[i].name)), true
}

// view is the bytes as a string, without a copy. Nothing of an evaluation is kept when
// the handler returns, and nothing changes the bytes until then.
func view(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // as said above
}
