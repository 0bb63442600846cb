package assembly

import "sync"

// room is a buffer that is lent for as long as something is being done.
type room struct{ p []byte }

// roomSizes are the sizes of rooms that are kept for the next: the smallest holds what
// most messages need, the others frames with as much payload as is read at once, and
// messages.
var roomSizes = [...]int{5 << 10, 20 << 10, 80 << 10, 320 << 10}

// leastKept is how small a room may be that is kept.
const leastKept = 1 << 10

// mostKept is how large.
const mostKept = 640 << 10

type rooms struct{ pools [len(roomSizes)]sync.Pool }

var scratch rooms

// get returns an empty room for n bytes, or more.
func (r *rooms) get(n int) *room {
	for class, size := range roomSizes {
		if n <= size {
			return r.of(class)
		}
	}
	return &room{p: make([]byte, 0, n)}
}

// frugal is get for what may be held for long: a small room is no larger than it has to be.
func (r *rooms) frugal(n int) *room {
	if n <= leastKept {
		return &room{p: make([]byte, 0, n)}
	}
	return r.get(n)
}

func (r *rooms) of(class int) *room {
	if b, ok := r.pools[class].Get().(*room); ok {
		return b
	}
	return &room{p: make([]byte, 0, roomSizes[class])}
}

// larger returns a room with the same in it, in place of this one.
func (b *room) larger() *room {
	larger := scratch.get(2 * cap(b.p))
	larger.p = append(larger.p, b.p...)
	b.release()
	return larger
}

// release gives the room back.
func (b *room) release() {
	size := cap(b.p)
	if size > mostKept {
		return
	}
	for class := len(roomSizes) - 1; class >= 0; class-- {
		if size >= roomSizes[class] {
			b.p = b.p[:0]
			scratch.pools[class].Put(b)
			return
		}
	}
}
