//go:build !noloop && !386

package relay

import (
	"sync"
	"time"
)

// chunk is what was read from one side in one go. While the other side does not take
// all of the chunk, that side owns it, and nothing more is read.
type chunk struct {
	unsent  []byte // still to be written
	first   []byte // unsent as it was when the side became the owner
	begun   int    // how much of first belongs to the frame that it begins within; see RestOfFrame
	carries cargo
	moved   time.Time // when the side last took something
	untaken int32     // how much the kernel had then that the peer had not taken

	// Where the chunk stands among those of the loop that are owned.
	relay          *Relay
	owner          *side
	earlier, later *chunk

	data []byte
}

// cargo is what the unsent bytes of a side are.
type cargo uint8

const (
	cargoNothing cargo = iota // nothing that the relay knows of, such as alerts of TLS
	cargoFrames               // frames from the other side
	cargoClose                // a close frame of ours, perhaps behind cargoNothing
	cargoPing                 // a ping of ours, perhaps behind cargoNothing
)

// The sizes that rests are moved to: for a close frame behind little, which no other rest
// is moved to, so that ending a slow side always saves memory; for a small rest; and for
// each piece, with some more for what TLS adds. The largest holds what a first read brings.
var restSizes = [...]int{restSpare, 2 * restSpare, smallPiece + 1<<10, mediumPiece + 1<<10, firstRead + 6<<10}

// Chunks of full size, and the small ones that rests are moved to.
var (
	chunks = newChunks(chunkSize)
	rests  = restPools()
)

func restPools() (pools [len(restSizes)]*sync.Pool) {
	for i, size := range restSizes {
		pools[i] = newChunks(size)
	}
	return pools
}

func newChunks(size int) *sync.Pool {
	return &sync.Pool{New: func() any { return &chunk{data: make([]byte, size)} }}
}

// restFor returns the smallest chunk that has room for n bytes, or nil if that would be
// one of full size.
func restFor(n int) *chunk {
	for i, size := range restSizes {
		if n <= size {
			return rests[i].Get().(*chunk)
		}
	}
	return nil
}

// restBelow returns the size of the largest chunk below a size that is no more than a
// small piece's, or 0.
func restBelow(size int) int {
	below := 0
	for _, smaller := range restSizes[:3] {
		if smaller < size {
			below = smaller
		}
	}
	return below
}

// release lets the chunk be used again.
func (c *chunk) release() {
	c.unsent, c.first, c.relay, c.owner = nil, nil, nil, nil
	for i, size := range restSizes {
		if len(c.data) == size {
			rests[i].Put(c)
			return
		}
	}
	chunks.Put(c)
}
