//go:build !unix

package relay

// newReader returns the reader that suits any conn.
func newReader(c Conn, buffers *bufferSource) reader {
	return &bufferedReader{conn: c, buffers: buffers}
}
