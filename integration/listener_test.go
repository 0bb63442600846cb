package integration

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
)

// listener puts the messages of a stream together, compressed ones too.
type listener struct {
	op      byte
	deflate bool
	payload []byte
	window  []byte
}

// hear takes a frame and describes what is complete with it.
func (l *listener) hear(f frame) []string {
	if f.op >= opClose {
		return []string{describe(f)}
	}
	if f.op != opContinuation {
		l.op, l.deflate, l.payload = f.op, f.rsv&0x40 != 0, nil
	}
	l.payload = append(l.payload, f.payload...)
	if !f.fin {
		return nil
	}
	if l.deflate {
		r := flate.NewReaderDict(io.MultiReader(bytes.NewReader(l.payload), bytes.NewReader([]byte("\x00\x00\xff\xff\x01\x00\x00\xff\xff"))), l.window)
		inflated, err := io.ReadAll(r)
		if err != nil {
			return []string{fmt.Sprintf("a message that cannot be inflated: %v", err)}
		}
		l.payload = inflated
		l.window = append(l.window, inflated...)
		l.window = l.window[max(0, len(l.window)-32<<10):]
	}
	return []string{describe(frame{fin: true, op: l.op, payload: l.payload})}
}
