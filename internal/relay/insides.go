package relay

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"reflect"
	"sync"
	"unsafe"
)

// layout is the offsets of fields of a tls.Conn that tls.Conn has no methods for.
type layout struct{ conn, raw, input, hand, settings uintptr }

// insides is the layout of this program's crypto/tls. It may be used only if
// errLayout is nil, and for connections only once tlsIsKnown has said so.
var insides, errLayout = findLayout(reflect.TypeFor[tls.Conn]())

// findLayout looks for fields that have the expected names and types.
func findLayout(in reflect.Type) (at layout, err error) {
	for _, field := range []struct {
		name string
		is   reflect.Type
		at   *uintptr
	}{
		{"conn", reflect.TypeFor[net.Conn](), &at.conn},
		{"rawInput", reflect.TypeFor[bytes.Buffer](), &at.raw},
		{"input", reflect.TypeFor[bytes.Reader](), &at.input},
		{"hand", reflect.TypeFor[bytes.Buffer](), &at.hand},
		{"config", reflect.TypeFor[*tls.Config](), &at.settings},
	} {
		found, ok := in.FieldByName(field.name)
		if !ok || found.Type != field.is || len(found.Index) != 1 {
			return layout{}, fmt.Errorf("%v has no field %s of type %v", in, field.name, field.is)
		}
		*field.at = found.Offset
	}
	return at, nil
}

func inside[T any](c *tls.Conn, offset uintptr) *T {
	return (*T)(unsafe.Add(unsafe.Pointer(c), offset)) //nolint:gosec // of a layout that was found
}

// tlsTrouble returns what is wrong with insides. Names and types do not say what
// crypto/tls does with a field, so that is tried out, once in a process: when the
// first connection over TLS comes, or TLSTrouble is called before.
var tlsTrouble = sync.OnceValue(func() error {
	if errLayout != nil {
		return errLayout
	}
	return insides.tryOut()
})

func tlsIsKnown() bool { return tlsTrouble() == nil }

// established are the TLS configurations of clients' sessions that are relayed.
// The one that a session was accepted with would keep the configuration of Caddy
// that was loaded then in memory.
var established = map[bool]*tls.Config{
	false: {MinVersion: tls.VersionTLS12},
	true:  {MinVersion: tls.VersionTLS12, DynamicRecordSizingDisabled: true},
}

// forgetSettings makes a client's session, whose handshake is complete, let go of
// the configuration that the session was accepted with, if crypto/tls is known.
func forgetSettings(c Conn, known func() bool) {
	if t, ok := c.(*tls.Conn); ok && known() {
		insides.forget(t)
	}
}

func (at layout) forget(c *tls.Conn) {
	settings := inside[*tls.Config](c, at.settings)
	*settings = established[(*settings).DynamicRecordSizingDisabled]
}
