package relay

import "sync"

// bufferSize is how much a goroutine reads at most in one go.
const bufferSize = 32 << 10

type buffer [bufferSize]byte

// bufferSource lends buffers.
type bufferSource struct {
	get func() *buffer
	put func(*buffer)

	writes *blockedWrites // from what was lent
}

var (
	bufferPool    = sync.Pool{New: func() any { return new(buffer) }}
	sharedBuffers = bufferSource{
		get: func() *buffer { return bufferPool.Get().(*buffer) },
		put: func(b *buffer) { bufferPool.Put(b) },

		writes: &processWrites,
	}
)
