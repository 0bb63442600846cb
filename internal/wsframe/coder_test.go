package wsframe

import (
	"bufio"
	"context"
	"crypto/sha1" //nolint:gosec // RFC 6455 asks for it
	"encoding/base64"
	"errors"
	"io"
	"iter"
	"net"
	"net/http"
	"testing"

	"github.com/coder/websocket"
)

// errOver is what a conn that has nothing more to say returns from Read. It is not
// io.EOF, because github.com/coder/websocket takes that for the end of the message if it
// comes between two fragments.
var errOver = errors.New("the stream is over")

// script is a conn whose other end sends a stream in pieces, and takes everything.
type script struct {
	net.Conn // is nil

	next func() ([]byte, bool)
	rest []byte
}

func (s *script) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		piece, more := s.next()
		if !more {
			return 0, errOver
		}
		s.rest = piece
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (*script) Write(p []byte) (int, error) { return len(p), nil }
func (*script) Close() error                { return nil }

// upgraded is a response whose conn is a script once it is hijacked, and a transport
// that is answered with such a conn.
type upgraded struct {
	*script

	header  http.Header
	deflate bool
}

func (u upgraded) Header() http.Header { return u.header }
func (upgraded) WriteHeader(int)       {}

func (u upgraded) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return u.script, bufio.NewReadWriter(bufio.NewReaderSize(u.script, 512), bufio.NewWriterSize(u.script, 512)), nil
}

func (u upgraded) RoundTrip(r *http.Request) (*http.Response, error) {
	accept := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // as above
	header := http.Header{
		"Connection":           {"Upgrade"},
		"Upgrade":              {"websocket"},
		"Sec-Websocket-Accept": {base64.StdEncoding.EncodeToString(accept[:])},
	}
	if u.deflate {
		header.Set("Sec-WebSocket-Extensions", "permessage-deflate")
	}
	return &http.Response{StatusCode: http.StatusSwitchingProtocols, Header: header, Body: u.script}, nil
}

// openCoder returns a connection of github.com/coder/websocket that reads from a script:
// that of a server if the frames are masked.
func openCoder(t *testing.T, s *script, masked, deflate bool) *websocket.Conn {
	t.Helper()
	mode := websocket.CompressionDisabled
	if deflate {
		mode = websocket.CompressionContextTakeover
	}
	up := upgraded{script: s, header: http.Header{}, deflate: deflate}
	silent := func(context.Context, []byte) bool { return false } // answers no ping
	var conn *websocket.Conn
	var err error
	if masked {
		header := http.Header{
			"Connection":            {"Upgrade"},
			"Upgrade":               {"websocket"},
			"Sec-Websocket-Version": {"13"},
			"Sec-Websocket-Key":     {"dGhlIHNhbXBsZSBub25jZQ=="},
		}
		if deflate {
			header.Set("Sec-WebSocket-Extensions", "permessage-deflate")
		}
		r := &http.Request{Method: http.MethodGet, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header}
		conn, err = websocket.Accept(up, r, &websocket.AcceptOptions{CompressionMode: mode, OnPingReceived: silent})
	} else {
		conn, _, err = websocket.Dial(context.Background(), "ws://upstream/", &websocket.DialOptions{
			HTTPClient: &http.Client{Transport: up}, CompressionMode: mode, OnPingReceived: silent,
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(-1)
	return conn
}

// readByCoder returns what github.com/coder/websocket has made of a stream, and whether
// it refused the rest.
func readByCoder(t *testing.T, stream, cuts []byte, masked, deflate bool) (v verdict, refused bool) {
	t.Helper()
	next, stop := iter.Pull(pieces(stream, cuts))
	defer stop()
	conn := openCoder(t, &script{next: next}, masked, deflate)
	defer conn.CloseNow()
	for {
		// A context that cannot end, as that of a test can, starts nothing for each read.
		typ, data, err := conn.Read(context.Background())
		var closed websocket.CloseError
		switch {
		case errors.As(err, &closed):
			v.closed, v.code, v.reason = true, int(closed.Code), closed.Reason
			return v, false
		case errors.Is(err, errOver):
			return v, false
		case errors.Is(err, io.EOF):
			t.Fatalf("a message ended otherwise than by its last frame: %v", err)
		case err != nil:
			return v, true
		}
		v.messages = append(v.messages, message{Opcode(typ), string(data)})
	}
}
