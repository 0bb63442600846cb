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

// Source is a Conn that need not be read into a buffer. Next waits for what there is, and
// returns it as long as Release is not called, perhaps together with an error.
type Source interface {
	Conn
	Next() ([]byte, error)
	Release()
}

// sourceReader takes what a Source has.
type sourceReader struct{ Source }

func (s sourceReader) read() ([]byte, error) { return s.Next() }
func (s sourceReader) release()              { s.Release() }

// readerOf returns the reader that suits the conn.
func readerOf(c Conn, buffers *bufferSource) reader {
	if s, ok := c.(Source); ok {
		return sourceReader{s}
	}
	return newReader(c, buffers)
}

// Reader reads a conn in chunks, as the relay does. It holds no buffer while it waits on a
// plain socket.
type Reader struct{ reader }

// NewReader returns a Reader.
func NewReader(c Conn) Reader { return Reader{newReader(c, &sharedBuffers)} }

// Read waits for something to read. The bytes are valid until Release, and may come
// together with an error.
func (r Reader) Read() ([]byte, error) { return r.read() }

// Release gives back what Read has returned.
func (r Reader) Release() { r.release() }

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
