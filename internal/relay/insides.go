package relay

import (
	"bytes"
	"crypto/tls"
	"net"
	"reflect"
	"unsafe"
)

// insides are where fields of a tls.Conn are that it has no methods for, as
// reflect knows. They are known if each has the expected name and type.
var insides = func() (in struct {
	known                            bool
	conn, raw, input, hand, settings uintptr
}) {
	in.known = true
	find := func(name string, t reflect.Type) uintptr {
		field, ok := reflect.TypeFor[tls.Conn]().FieldByName(name)
		in.known = in.known && ok && field.Type == t && len(field.Index) == 1
		return field.Offset
	}
	in.conn = find("conn", reflect.TypeFor[net.Conn]())
	in.raw = find("rawInput", reflect.TypeFor[bytes.Buffer]())
	in.input = find("input", reflect.TypeFor[bytes.Reader]())
	in.hand = find("hand", reflect.TypeFor[bytes.Buffer]())
	in.settings = find("config", reflect.TypeFor[*tls.Config]())
	return in
}()

func inside[T any](c *tls.Conn, offset uintptr) *T {
	return (*T)(unsafe.Add(unsafe.Pointer(c), offset)) //nolint:gosec // checked above
}

// The configurations of clients' sessions that go on. What they were accepted
// with would keep the configuration of Caddy that was loaded then.
var established = map[bool]*tls.Config{
	false: {MinVersion: tls.VersionTLS12},
	true:  {MinVersion: tls.VersionTLS12, DynamicRecordSizingDisabled: true},
}

// forgetSettings lets a client's session, whose handshake is complete, go of the
// configuration that it was accepted with.
func forgetSettings(c Conn) {
	if t, ok := c.(*tls.Conn); ok && insides.known {
		settings := inside[*tls.Config](t, insides.settings)
		*settings = established[(*settings).DynamicRecordSizingDisabled]
	}
}
