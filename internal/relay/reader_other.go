//go:build !unix

package relay

func newReader(c Conn, buffers *bufferSource) reader {
	return &bufferedReader{conn: c, buffers: buffers}
}
