package relay

import "io"

// smallSize is the size of the buffer with which a read waits on a conn that cannot say
// whether there is something to read.
const smallSize = 1 << 10

// reader reads a side in chunks.
type reader interface {
	// read waits for something to read. The bytes are valid until release, and may
	// come together with an error.
	read() ([]byte, error)
	release()
}

// bufferedReader waits on any conn with a small buffer of its own. A read that fills
// the buffer shows that more is there, and the next reads get a lent buffer for as long
// as they fill that too.
type bufferedReader struct {
	conn    io.Reader
	buffers *bufferSource
	lent    *buffer
	more    bool // the last read filled its buffer
	small   [smallSize]byte
}

func (b *bufferedReader) read() ([]byte, error) {
	p := b.small[:]
	if b.more {
		b.lent = b.buffers.get()
		p = b.lent[:]
	}
	n, err := b.conn.Read(p)
	b.more = n == len(p)
	return p[:n], err
}

func (b *bufferedReader) release() {
	if b.lent != nil {
		b.buffers.put(b.lent)
		b.lent = nil
	}
}
