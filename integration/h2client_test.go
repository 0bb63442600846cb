package integration

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2Script is the server's side of an HTTP/2 connection, frame by frame.
type h2Script struct {
	*http2.Framer
	conn net.Conn
	t    *testing.T
}

// playH2 lets a script serve a client, once it has sent its settings.
func playH2(t *testing.T, settings []http2.Setting, script func(s h2Script)) (*h2Conn, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = io.ReadFull(conn, make([]byte, len(http2.ClientPreface)))
		s := h2Script{http2.NewFramer(conn, conn), conn, t}
		s.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		_ = s.WriteSettings(settings...)
		script(s)
	}()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = ln.Close()
		_ = conn.Close()
		<-done
	})
	return newH2Conn(conn)
}

// next reads up to a frame of the type.
func next[F http2.Frame](s h2Script) (f F) {
	for {
		got, err := s.ReadFrame()
		if err != nil {
			s.t.Errorf("waiting for %T: %v", f, err)
			return f
		}
		if f, ok := got.(F); ok {
			return f
		}
	}
}

// answer waits for a request and accepts it.
func (s h2Script) answer() (id uint32) {
	id = next[*http2.MetaHeadersFrame](s).StreamID
	var block bytes.Buffer
	_ = hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	_ = s.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true})
	return id
}

var extendedConnectOffered = []http2.Setting{{ID: http2.SettingEnableConnectProtocol, Val: 1}}

func TestClientOverH2NeedsExtendedConnect(t *testing.T) {
	if _, err := playH2(t, nil, func(h2Script) {}); err == nil || !strings.Contains(err.Error(), "extended CONNECT") {
		t.Errorf("got %v", err)
	}
}

func TestClientOverH2SaysHowItsStreamEnded(t *testing.T) {
	for name, row := range map[string]struct {
		end  func(s h2Script, id uint32)
		want error // of reading to the end
	}{
		"END_STREAM": {func(s h2Script, id uint32) { _ = s.WriteData(id, true, nil) }, nil},
		"RST_STREAM": {
			func(s h2Script, id uint32) { _ = s.WriteRSTStream(id, http2.ErrCodeEnhanceYourCalm) },
			http2.StreamError{StreamID: 1, Code: http2.ErrCodeEnhanceYourCalm},
		},
		"GOAWAY": {
			func(s h2Script, _ uint32) { _ = s.WriteGoAway(0, http2.ErrCodeInternal, []byte("sorry")) },
			goAwayError{http2.ErrCodeInternal, "sorry"},
		},
		"the end of the connection": {func(s h2Script, _ uint32) { _ = s.conn.(*net.TCPConn).CloseWrite() }, io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			read := make(chan struct{})
			c, err := playH2(t, extendedConnectOffered, func(s h2Script) {
				id := s.answer()
				_ = s.WriteData(id, false, []byte("before"))
				row.end(s, id)
				<-read
			})
			if err != nil {
				t.Fatal(err)
			}
			stream, err := c.open(t.Context(), nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(stream)
			close(read)
			if string(got) != "before" || !errors.Is(err, row.want) {
				t.Errorf("read %q, then %v, want %v", got, err, row.want)
			}
		})
	}
}

// TestClientOverH2KeepsToTheWindows lets the server grant room little by little,
// and counts what the client grants.
func TestClientOverH2KeepsToTheWindows(t *testing.T) {
	sent := strings.Repeat("up", 60_000)
	answered := strings.Repeat("down", 30_000)
	c, err := playH2(t, extendedConnectOffered, func(s h2Script) {
		id := s.answer()
		room, got := h2Window, 0
		for got < len(sent) {
			data := next[*http2.DataFrame](s)
			if data == nil {
				return
			}
			got += len(data.Data())
			if room -= len(data.Data()); room < 0 {
				t.Errorf("the client sent %d bytes more than it may", -room)
				return
			}
			if room == 0 {
				room = 1000
				_ = s.WriteWindowUpdate(0, uint32(room))
				_ = s.WriteWindowUpdate(id, uint32(room))
			}
		}
		stream, connection := h2Window, h2Window
		for rest := answered; rest != ""; {
			n := min(stream, connection, len(rest), 10_000)
			if n == 0 {
				if update := next[*http2.WindowUpdateFrame](s); update == nil {
					return
				} else if update.StreamID == 0 {
					connection += int(update.Increment)
				} else {
					stream += int(update.Increment)
				}
				continue
			}
			_ = s.WriteData(id, n == len(rest), []byte(rest[:n]))
			rest, stream, connection = rest[n:], stream-n, connection-n
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := c.open(t.Context(), nil, http.Header{"X-Long": {strings.Repeat("x", 40_000)}})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.WriteString(stream, sent); err != nil {
		t.Fatalf("sent %d bytes, then %v", n, err)
	}
	got, err := io.ReadAll(stream)
	if err != nil || string(got) != answered {
		t.Errorf("read %d bytes, then %v, want %d", len(got), err, len(answered))
	}
}
