//go:build !noloop && !386

package relay

import (
	"crypto/tls"
	"io"
	"testing"
)

// TestEndThatTLSHasReadAlreadyIsNotLost starts when the tls.Conn knows the end of
// its peer's stream, as net/http may have let it read that ahead: nothing more
// will come over the socket.
func TestEndThatTLSHasReadAlreadyIsNotLost(t *testing.T) {
	t.Parallel()
	f := onTLS(t, Config{})
	if err := f.client.(*tls.Conn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := f.Relay.client.conn.Read(make([]byte, 1)); n != 0 || err != io.EOF { //nolint:errorlint // io.Reader returns it as it is
		t.Fatalf("read %d bytes and %v", n, err)
	}
	f.run()
	if f.place.loop == nil {
		t.Error("not on the loop")
	}
	mustReadClose(t, f.upstream, Close{1011, "client vanished"})
	mustWrite(t, f.upstream, closeFrame(1000, ""))
	wantEnd(t, f.end(t), Client, 1011, "client vanished")
}
