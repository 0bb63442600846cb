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
	carries cargo
	moved   time.Time // when the side last took something
	untaken int32     // how much the kernel had then that the peer had not taken
	data    []byte
}

// cargo is what the unsent bytes of a side are.
type cargo uint8

const (
	cargoNothing cargo = iota // nothing that the relay knows of, such as alerts of TLS
	cargoFrames               // frames from the other side
	cargoClose                // a close frame of ours, perhaps behind cargoNothing
	cargoPing                 // a ping of ours, perhaps behind cargoNothing
)

// Chunks of full size, and the small ones that rests are moved to.
var (
	chunks = sync.Pool{New: func() any { return &chunk{data: make([]byte, chunkSize)} }}
	rests  = sync.Pool{New: func() any { return &chunk{data: make([]byte, restRoom)} }}
)

// release lets the chunk be used again.
func (c *chunk) release() {
	if len(c.data) == chunkSize {
		chunks.Put(c)
	} else {
		rests.Put(c)
	}
}
