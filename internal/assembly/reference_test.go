package assembly

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// told is a message, or a control frame, as the reference has it.
type told struct {
	op      byte
	payload string
}

// readStream is a naive reader of frames. It returns the messages and close frames, the
// other control frames, and what a message that is not complete has said.
func readStream(t testing.TB, stream []byte, masked bool) (said, controls []told, unfinished string) {
	t.Helper()
	var op byte
	var deflated bool
	var payload []byte
	for len(stream) > 0 {
		h, rest := readFrame(t, stream, masked)
		stream = rest
		switch first := h.first & 0x0F; {
		case first == 8:
			said = append(said, told{8, string(h.payload)})
			continue
		case first > 8:
			controls = append(controls, told{first, string(h.payload)})
			continue
		case first != 0:
			op, deflated, payload = first, h.first&0x40 != 0, nil
		}
		payload = append(payload, h.payload...)
		if h.first&0x80 == 0 {
			continue
		}
		if deflated {
			payload = inflateAll(t, payload)
		}
		said = append(said, told{op, string(payload)})
		op, payload = 0, nil
	}
	return said, controls, string(payload)
}

type rawFrame struct {
	first   byte
	payload []byte
}

func readFrame(t testing.TB, p []byte, masked bool) (f rawFrame, rest []byte) {
	t.Helper()
	if len(p) < 2 || p[1]&0x80 != 0 != masked {
		t.Fatalf("no frame: %x", p)
	}
	f.first = p[0]
	size, at := uint64(p[1]&0x7F), 2
	switch size {
	case 126:
		size, at = uint64(binary.BigEndian.Uint16(p[2:])), 4
	case 127:
		size, at = binary.BigEndian.Uint64(p[2:]), 10
	}
	var key []byte
	if masked {
		key = p[at : at+4]
		at += 4
	}
	if uint64(len(p)-at) < size {
		t.Fatalf("the stream ends within a frame of %d bytes", size)
	}
	f.payload = bytes.Clone(p[at : at+int(size)])
	for i := range f.payload {
		if masked {
			f.payload[i] ^= key[i%4]
		}
	}
	return f, p[at+int(size):]
}

func inflateAll(t testing.TB, p []byte) []byte {
	t.Helper()
	r := flate.NewReader(io.MultiReader(bytes.NewReader(p), bytes.NewReader([]byte("\x00\x00\xff\xff\x01\x00\x00\xff\xff"))))
	all, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("inflating what was sent: %v", err)
	}
	return all
}

var writers = sync.Pool{New: func() any {
	w, _ := flate.NewWriter(nil, flate.DefaultCompression)
	return w
}}

// deflated compresses as a peer does that has sent dict before.
func deflated(p, dict []byte) []byte {
	var b bytes.Buffer
	var w *flate.Writer
	if dict == nil { // as with most, and to make a writer takes longer than to write
		w = writers.Get().(*flate.Writer)
		defer writers.Put(w)
		w.Reset(&b)
	} else {
		w, _ = flate.NewWriterDict(&b, flate.DefaultCompression, dict)
	}
	_, _ = w.Write(p)
	_ = w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte("\x00\x00\xff\xff"))
}

// frame makes a frame of which first is the first byte.
func frame(first byte, payload string, masked bool) []byte {
	b := wsframe.AppendFrame(nil, wsframe.Opcode(first&0x0F), first&0x80 != 0, false, []byte(payload), masked)
	b[0] = first
	return b
}

// scripted is an upstream that sends pieces and then ends, and takes what it is told.
type scripted struct {
	pieces [][]byte

	mu    sync.Mutex
	taken []byte
}

func (s *scripted) Read(p []byte) (int, error) {
	for len(s.pieces) > 0 {
		n := copy(p, s.pieces[0])
		s.pieces[0] = s.pieces[0][n:]
		if len(s.pieces[0]) == 0 {
			s.pieces = s.pieces[1:]
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, io.EOF
}

func (s *scripted) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = append(s.taken, p...)
	return len(p), nil
}

func (s *scripted) all() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.taken)
}

func (*scripted) Close() error                     { return nil }
func (*scripted) SetReadDeadline(time.Time) error  { return nil }
func (*scripted) SetWriteDeadline(time.Time) error { return nil }

// rejection is what an Ender is told.
type rejection struct {
	offender         relay.Party
	client, upstream int
	limit            string
}

type ender struct{ told []rejection }

func (e *ender) Reject(offender relay.Party, _, client, upstream relay.Close, limit string) {
	e.told = append(e.told, rejection{offender, client.Code, upstream.Code, limit})
}

// run is what becomes of a stream that comes in pieces.
type run struct {
	said       []told // to the other side
	unfinished string
	controls   []told // to the other side
	answers    []told // to the sender
	rejected   []rejection
}

// passThrough has a stream of one side go through a Conn.
func passThrough(t testing.TB, from messages.Direction, c Config, pieces [][]byte) (got run) {
	t.Helper()
	up, e := &scripted{}, &ender{}
	c.Upstream, c.Connection, c.Reporter = up, &messages.Connection{}, &reports{}
	if from == messages.FromUpstream {
		up.pieces = pieces
	}
	conn, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Finish()
	conn.Bind(e)
	if from == messages.FromClient {
		for _, p := range pieces {
			if n, err := conn.Write(bytes.Clone(p)); err != nil || n != len(p) {
				t.Fatalf("wrote %d of %d bytes: %v", n, len(p), err)
			}
		}
	}
	toClient, err := readWith(conn, 1<<10)
	if !errors.Is(err, io.EOF) {
		t.Errorf("reading ended with %v", err)
	}
	conn.upstream.settle()
	toUpstream := up.all()
	if from == messages.FromClient {
		got.said, got.controls, got.unfinished = readStream(t, toUpstream, true)
		_, got.answers, _ = readStream(t, toClient, false)
	} else {
		got.said, got.controls, got.unfinished = readStream(t, toClient, false)
		_, got.answers, _ = readStream(t, toUpstream, true)
	}
	got.rejected = e.told
	return got
}

// readWith reads all with a buffer of such a size.
func readWith(c io.Reader, size int) (all []byte, err error) {
	p := make([]byte, size)
	for {
		n, err := c.Read(p)
		all = append(all, p[:n]...)
		if err != nil {
			return all, err
		}
	}
}

// settle waits until no pong is being written.
func (o *outlet) settle() {
	for {
		o.mu.Lock()
		busy := o.ponging
		o.mu.Unlock()
		if !busy {
			return
		}
		runtime.Gosched()
	}
}

func whole(stream []byte) [][]byte { return [][]byte{stream} }

// byteByByte cuts a stream at every byte.
func byteByByte(stream []byte) [][]byte {
	return slices.Collect(slices.Chunk(stream, 1))
}
