package relay

import (
	"bytes"
	"net"
	"testing"
	"time"
)

// finale is a way for a connection to end: what the peers do and see, and what
// is recorded. Whoever was seen first ended it where the code is 0.
type finale struct {
	play   func(t *testing.T, f *fixture)
	by     Party
	code   int
	reason string

	impatient bool // what is waited for does not come
}

var finalesWithCloseFrames = map[string]finale{
	"close frame from client": {func(t *testing.T, f *fixture) {
		mustWrite(t, f.client, maskedClose(4001, "done"))
		mustReadClose(t, f.upstream, Close{4001, "done"})
		mustWrite(t, f.upstream, append(text("on its way"), closeFrame(4002, "yes")...))
		mustRead(t, f.client, text("on its way"))
		mustReadClose(t, f.client, Close{4002, "yes"})
		wantEOF(t, f.client)
		wantEOF(t, f.upstream)
	}, Client, 4001, "done", false},
	"close frame from upstream": {func(t *testing.T, f *fixture) {
		mustWrite(t, f.upstream, closeFrame(1000, ""))
		mustReadClose(t, f.client, Close{1000, ""})
		mustWrite(t, f.client, maskedClose(1000, ""))
		mustReadClose(t, f.upstream, Close{1000, ""})
		wantEOF(t, f.client)
		wantEOF(t, f.upstream)
	}, Upstream, 1000, "", false},
	"close frame without an answer": {func(t *testing.T, f *fixture) {
		mustWrite(t, f.client, maskedClose(1000, ""))
		mustReadClose(t, f.upstream, Close{1000, ""})
		wantEOF(t, f.upstream)
	}, Client, 1000, "", true},
}

var finalesWithoutCloseFrames = map[string]finale{
	"upstream resets": {func(t *testing.T, f *fixture) {
		resetPeer(t, f.upstream)
		mustReadClose(t, f.client, Close{1012, "upstream vanished"})
		mustWrite(t, f.client, maskedClose(1012, ""))
		wantEOF(t, f.client)
	}, Upstream, 1012, "upstream vanished", false},
	"upstream half-closes": {func(t *testing.T, f *fixture) {
		halfClose(t, f.upstream)
		mustWrite(t, f.client, maskedText("still coming"))
		mustRead(t, f.upstream, maskedText("still coming"))
		mustReadClose(t, f.client, Close{1012, "upstream vanished"})
		mustWrite(t, f.client, maskedClose(1012, "so it is"))
		mustReadClose(t, f.upstream, Close{1012, "so it is"})
	}, Upstream, 1012, "upstream vanished", false},
	"both half-close": {func(t *testing.T, f *fixture) {
		halfClose(t, f.client)
		halfClose(t, f.upstream)
		wantEOF(t, f.client)
		wantEOF(t, f.upstream)
	}, Client, 0, "", false},
	"client vanishes inside a frame": {func(t *testing.T, f *fixture) {
		mustWrite(t, f.client, maskedText("cut short")[:9])
		mustRead(t, f.upstream, maskedText("cut short")[:9])
		resetPeer(t, f.client)
		wantEOF(t, f.upstream)
	}, Client, 1011, "client vanished", false},
	"upstream stalls": {func(t *testing.T, f *fixture) {
		go func() {
			flood := frame(2, true, bytes.Repeat([]byte("x"), 1<<20))
			for {
				if _, err := f.client.Write(flood); err != nil {
					return
				}
			}
		}()
		mustReadClose(t, f.client, Close{1012, "upstream stopped reading"})
	}, Upstream, 1012, "upstream stopped reading", true},
}

var finalesByGateway = map[string]finale{
	"End": {func(t *testing.T, f *fixture) {
		f.End(restart, goingAway)
		mustReadClose(t, f.client, restart)
		mustReadClose(t, f.upstream, goingAway)
		mustWrite(t, f.client, append(maskedText("dropped"), maskedClose(1012, "")...))
		mustWrite(t, f.upstream, closeFrame(1001, ""))
		wantEOF(t, f.client)
		wantEOF(t, f.upstream)
	}, Gateway, 1012, "service restart", false},
	"End inside a frame": {func(t *testing.T, f *fixture) {
		first := maskedText("in two parts")
		mustWrite(t, f.client, first[:10])
		mustRead(t, f.upstream, first[:10])
		f.End(restart, goingAway)
		mustReadClose(t, f.client, restart)
		mustWrite(t, f.client, append(first[10:len(first):len(first)], maskedText("dropped")...))
		mustRead(t, f.upstream, first[10:])
		mustReadClose(t, f.upstream, goingAway)
		mustWrite(t, f.upstream, closeFrame(1001, ""))
		mustWrite(t, f.client, maskedClose(1012, ""))
		wantEOF(t, f.upstream)
	}, Gateway, 1012, "service restart", false},
	"End without answers": {func(t *testing.T, f *fixture) {
		f.End(restart, goingAway)
		mustReadClose(t, f.client, restart)
		mustReadClose(t, f.upstream, goingAway)
		wantEOF(t, f.client)
		wantEOF(t, f.upstream)
	}, Gateway, 1012, "service restart", true},
}

func resetPeer(t *testing.T, c net.Conn) {
	t.Helper()
	if err := beneath(c).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	_ = beneath(c).Close()
}

func halfClose(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// TestEndingsOnSockets goes through the table of the package comment, with and
// without TLS at the client.
func TestEndingsOnSockets(t *testing.T) {
	t.Parallel()
	transports := map[string]func(testing.TB, Config) *fixture{"tcp": onTCP, "tls": onTLS}
	for _, finales := range []map[string]finale{finalesWithCloseFrames, finalesWithoutCloseFrames, finalesByGateway} {
		for name, tt := range finales {
			for transport, open := range transports {
				t.Run(name+"/"+transport, func(t *testing.T) {
					t.Parallel()
					c := Config{WriteTimeout: patience, CloseTimeout: patience, LingerTimeout: 3 * time.Second}
					if tt.impatient {
						c.WriteTimeout, c.CloseTimeout = 300*time.Millisecond, time.Second
					}
					f := open(t, c)
					f.run()
					tt.check(t, f)
				})
			}
		}
	}
}

// check plays the end of a connection that both sides have used.
func (want finale) check(t *testing.T, f *fixture) {
	t.Helper()
	mustWrite(t, f.client, maskedText("hi"))
	mustRead(t, f.upstream, maskedText("hi"))
	mustWrite(t, f.upstream, text("ho"))
	mustRead(t, f.client, text("ho"))
	want.play(t, f)
	o := f.end(t)
	if want.code == 0 {
		want.by, want.code, want.reason = o.By, map[Party]int{Client: 1011, Upstream: 1012}[o.By], o.By.String()+" vanished"
	}
	wantEnd(t, o, want.by, want.code, want.reason)
}

// TestEarlyBytesLargerThanTheSocketTakes passes on more than fits the buffers
// before the peer begins to read.
func TestEarlyBytesLargerThanTheSocketTakes(t *testing.T) {
	t.Parallel()
	early := frame(2, true, bytes.Repeat([]byte("0123456789"), 2_000_000))
	f := onTCP(t, Config{EarlyFromClient: append(early, maskedText("part")[:7]...)})
	f.run()
	mustWrite(t, f.client, maskedText("part")[7:])
	f.waitUntilStalled(t)
	mustRead(t, f.upstream, early)
	mustRead(t, f.upstream, maskedText("part"))
	f.client.Close()
	f.upstream.Close()
	f.end(t)
}
