package assembly

import "sync"

// room is a buffer that is lent for as long as something is being done.
type room struct{ p []byte }

// mostKept is how large a buffer may be to be lent again.
const mostKept = 256 << 10

type rooms struct{ pool sync.Pool }

var scratch rooms

func (r *rooms) get() *room {
	if b, ok := r.pool.Get().(*room); ok {
		return b
	}
	return &room{p: make([]byte, 0, 4<<10)}
}

// release gives the buffer back.
func (b *room) release() {
	if cap(b.p) > mostKept {
		return
	}
	b.p = b.p[:0]
	scratch.pool.Put(b)
}
