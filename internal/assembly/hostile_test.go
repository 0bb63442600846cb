package assembly

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
	"github.com/wsgateway/caddy-ws-gateway/messages"
)

var deflateAgreed = handshake.Deflate{Agreed: true, Bits: 15}

// header makes the header of a frame that announces so much.
func header(first byte, announced uint64, masked bool) []byte {
	second := byte(127)
	if masked {
		second |= 0x80
	}
	b := binary.BigEndian.AppendUint64([]byte{first, second}, announced)
	if masked {
		b = append(b, 0, 0, 0, 0)
	}
	return b
}

func TestWhatASideMustNotSend(t *testing.T) {
	t.Parallel()
	const most = 1000
	text := func(first byte, payload string) func(bool) []byte {
		return func(masked bool) []byte { return frame(first, payload, masked) }
	}
	two := func(one, other func(bool) []byte) func(bool) []byte {
		return func(masked bool) []byte { return append(one(masked), other(masked)...) }
	}
	exact, beyond := strings.Repeat("x", most), strings.Repeat("x", most+1)
	tests := map[string]struct {
		stream func(masked bool) []byte
		code   int // 0 for none
		limit  string
	}{
		"a message of the size":                  {stream: text(0x81, exact)},
		"one byte more":                          {stream: text(0x81, beyond), code: 1009, limit: relay.LimitMessageSize},
		"one byte more in fragments":             {stream: two(text(0x01, exact), text(0x80, "x")), code: 1009, limit: relay.LimitMessageSize},
		"the size in fragments":                  {stream: two(text(0x01, exact[1:]), text(0x80, "x"))},
		"the size, compressed":                   {stream: text(0xC1, string(deflated([]byte(exact), nil)))},
		"one byte more, compressed":              {stream: text(0xC1, string(deflated([]byte(beyond), nil))), code: 1009, limit: relay.LimitMessageSize},
		"a compressed empty message":             {stream: text(0xC1, "\x00")},
		"a compressed message of nothing":        {stream: text(0xC1, "")},
		"a length of 2^62":                       {stream: func(m bool) []byte { return header(0x82, 1<<62, m) }, code: 1009, limit: relay.LimitMessageSize},
		"two lengths beyond 2^63":                {stream: two(text(0x02, "x"), func(m bool) []byte { return header(0x80, 1<<63-1, m) }), code: 1009, limit: relay.LimitMessageSize},
		"a length of 2^63":                       {stream: func(m bool) []byte { return header(0x82, 1<<63, m) }, code: 1002},
		"a compressed length of 2^62":            {stream: func(m bool) []byte { return header(0xC2, 1<<62, m) }, code: 1009, limit: relay.LimitMessageSize},
		"a text that is none":                    {stream: text(0x81, "\xff"), code: 1007},
		"a text that is none, compressed":        {stream: text(0xC1, string(deflated([]byte("\xff"), nil))), code: 1007},
		"half a character":                       {stream: text(0x81, "\xe2\x82"), code: 1007},
		"a character in two":                     {stream: two(text(0x01, "\xe2\x82"), text(0x80, "\xac"))},
		"half a character in two":                {stream: two(text(0x01, "\xe2\x82"), text(0x80, "")), code: 1007},
		"a binary that is no text":               {stream: text(0x82, "\xff")},
		"not deflated":                           {stream: text(0xC1, "\xff\xff\xff"), code: 1007},
		"deflated, and cut off":                  {stream: text(0xC1, string(deflated([]byte(exact), nil)[:4])), code: 1007},
		"a continuation of nothing":              {stream: text(0x80, "x"), code: 1002},
		"a message within another":               {stream: two(text(0x01, "x"), text(0x81, "x")), code: 1002},
		"RSV1 in a continuation":                 {stream: two(text(0x01, "x"), text(0xC0, "x")), code: 1002},
		"RSV2":                                   {stream: text(0xA1, "x"), code: 1002},
		"a reserved opcode":                      {stream: text(0x83, "x"), code: 1002},
		"a fragmented ping":                      {stream: text(0x09, "x"), code: 1002},
		"a large ping":                           {stream: text(0x89, strings.Repeat("x", 126)), code: 1002},
		"half a close code":                      {stream: text(0x88, "\x03"), code: 1002},
		"a close code that must not be sent":     {stream: text(0x88, "\x03\xed"), code: 1002},
		"a reason that is no text":               {stream: text(0x88, "\x03\xe8\xff"), code: 1007},
		"a length that is longer than it has to": {stream: func(m bool) []byte { return append(header(0x82, 1, m), 'x') }, code: 1002},
	}
	for name, tt := range tests {
		for _, d := range []messages.Direction{messages.FromClient, messages.FromUpstream} {
			t.Run(name+", "+d.String(), func(t *testing.T) {
				t.Parallel()
				c := Config{Client: deflateAgreed, Server: deflateAgreed, MessageSize: most, Chains: both(0, handlerFunc(pass))}
				stream := tt.stream(d == messages.FromClient)
				for _, pieces := range [][][]byte{whole(stream), byteByByte(stream)} {
					got := passThrough(t, d, c, pieces)
					want := rejection{client: tt.code, upstream: 1001, limit: tt.limit}
					if d == messages.FromUpstream {
						want = rejection{relay.Upstream, 1001, tt.code, tt.limit}
					}
					switch {
					case tt.code == 0 && len(got.rejected) > 0, tt.code == 0 && len(got.said) != 1:
						t.Errorf("%d messages, rejected with %v", len(got.said), got.rejected)
					case tt.code != 0 && !reflect.DeepEqual(got.rejected, []rejection{want}):
						t.Errorf("rejected with %v, want %v", got.rejected, want)
					}
				}
			})
		}
	}
}

// lastBlock deflates p so that the block says it is the last.
func lastBlock(p []byte) []byte {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestCompression)
	_, _ = w.Write(p)
	_ = w.Close()
	return b.Bytes()
}

func TestInflating(t *testing.T) {
	t.Parallel()
	hello := lastBlock([]byte("hello "))
	tests := map[string]struct {
		compressed []byte
		dict, want string
		err        error
	}{
		"the example of section 7.2.3.4":    {compressed: []byte{0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00}, want: "Hello"},
		"a last block and nothing behind":   {compressed: hello, want: "hello "},
		"several last blocks":               {compressed: append(bytes.Repeat(hello, 5), 0), want: strings.Repeat("hello ", 5)},
		"what goes on with a last block":    {compressed: append(bytes.Clone(hello), deflated([]byte("world"), nil)...), want: "hello world"},
		"refers to what was said before":    {compressed: deflated([]byte("all work"), []byte("all work")), dict: "all work", want: "all work"},
		"refers to what was never said":     {compressed: deflated([]byte(long[:200]), []byte(long[:200])), err: errBroken},
		"refers across a last block":        {compressed: append(lastBlock([]byte(long[:100])), deflated([]byte(long[:100]), []byte(long[:100]))...), want: long[:100] + long[:100]},
		"very many last blocks":             {compressed: bytes.Repeat([]byte{3, 0}, 1<<19), err: errBroken},
		"a bomb":                            {compressed: deflated(make([]byte, 4<<20), nil), err: errTooBig},
		"a bomb in last blocks":             {compressed: bytes.Repeat(lastBlock(make([]byte, 1<<18)), 6), err: errTooBig},
		"a stored block with nothing in it": {compressed: []byte{0}, want: ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			into, err := inflate(scratch.get(1), tt.compressed, []byte(tt.dict), 1<<20)
			if got := into.p; err != tt.err || err == nil && string(got) != tt.want { //nolint:errorlint // they are returned as they are
				t.Errorf("inflated to %s and %v, want %s and %v", short(got), err, short([]byte(tt.want)), tt.err)
			}
		})
	}
}

func TestBombTakesNoMoreThanAMessage(t *testing.T) {
	const pieceSize = 1 << 20
	piece := deflated(make([]byte, pieceSize), nil)
	bomb := frame(0xC2, strings.Repeat(string(piece)+"\x00\x00\xff\xff", 1<<30/pieceSize), true)
	c := Config{Client: deflateAgreed, MessageSize: 8 << 20, Chains: both(0, handlerFunc(pass))}
	for _, pieces := range [][][]byte{whole(bomb), cutBy(bomb, 32<<10)} {
		taken := allocated(func() {
			if got := passThrough(t, messages.FromClient, c, pieces); len(got.rejected) != 1 || got.rejected[0].client != 1009 {
				t.Errorf("rejected with %v", got.rejected)
			}
		})
		if taken > 160<<20 {
			t.Errorf("%d MiB were allocated", taken>>20)
		}
	}
}

func cutBy(stream []byte, size int) (pieces [][]byte) {
	for len(stream) > size {
		pieces, stream = append(pieces, stream[:size:size]), stream[size:]
	}
	return append(pieces, stream)
}

// allocated returns how many bytes f has allocated, with what has gone again; 0 where
// that says nothing.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if raced {
		return 0
	}
	return after.TotalAlloc - before.TotalAlloc
}

// conveyor is an upstream that sends a stream of parts which are all alike.
type conveyor struct {
	scripted

	first, part, last []byte
	parts             int
}

func (c *conveyor) Read(p []byte) (n int, err error) {
	if c.first != nil {
		n, c.first = copy(p, c.first), nil
		return n, nil
	}
	for c.parts > 0 && n+len(c.part) <= len(p) {
		n += copy(p[n:], c.part)
		c.parts--
	}
	if n == 0 && c.last != nil {
		n, c.last = copy(p, c.last), nil
	}
	if n == 0 {
		return 0, errClosed
	}
	return n, nil
}

// newAlone returns a Conn without a relay.
func newAlone(t testing.TB, c Config) (*Conn, *ender) {
	t.Helper()
	e := &ender{}
	c.Connection, c.Reporter = &messages.Connection{}, &reports{}
	conn, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Finish)
	conn.Bind(e)
	return conn, e
}

func TestTenMillionEmptyFragmentsTakeNoMemory(t *testing.T) {
	parts := 10_000_000
	if raced {
		parts /= 20
	}
	for name, chains := range map[string][2]Chain{"assembled": both(0, handlerFunc(pass)), "streams": {}} {
		t.Run(name, func(t *testing.T) {
			up := &conveyor{first: []byte{0x01, 1, 'a'}, part: []byte{0, 0}, last: []byte{0x80, 1, 'b'}, parts: parts}
			conn, _ := newAlone(t, Config{Upstream: up, Chains: chains})
			var s wsframe.Scanner
			p := make([]byte, 32<<10)
			taken := allocated(func() {
				for {
					n, err := conn.Read(p)
					s.Scan(p[:n])
					if err != nil {
						break
					}
				}
			})
			if c := s.Counts(); c.Text != 1 || c.Bytes != 2 || taken > 8<<20 {
				t.Errorf("%+v came out, and %d KiB were allocated", c, taken>>10)
			}
		})
	}
}

// TestManyFragmentsAreNotMovedEachTime fails by what is allocated where each fragment
// moves all that came before it.
func TestManyFragmentsAreNotMovedEachTime(t *testing.T) {
	const most = 1 << 20
	up := &conveyor{first: []byte{0x02, 0}, part: []byte("\x00\x0a0123456789"), last: []byte{0x80, 0}, parts: most / 10}
	conn, e := newAlone(t, Config{Upstream: up, MessageSize: most, Chains: both(0, handlerFunc(pass))})
	taken := allocated(func() { _, _ = readWith(conn, 1<<20) })
	if len(e.told) > 0 || taken > 64<<20 {
		t.Errorf("%d MiB were allocated for a message of 1 MiB, %v", taken>>20, e.told)
	}
}

func TestStreamedMessageTakesNoMemory(t *testing.T) {
	const size = 100 << 20
	count := 0
	for _, verdict := range []messages.Verdict{messages.Pass, messages.Drop()} {
		h := blind{func(*messages.Message) (messages.Verdict, error) { count++; return verdict, nil }}
		up := &conveyor{first: header(0x82, size, false), part: make([]byte, 1<<10), parts: size >> 10, last: []byte{0x81, 2, 'o', 'k'}}
		conn, _ := newAlone(t, Config{Upstream: up, Chains: [2]Chain{messages.FromUpstream: chainOf(time.Minute, h)}})
		var s wsframe.Scanner
		p := make([]byte, 32<<10)
		taken := allocated(func() {
			for {
				n, err := conn.Read(p)
				s.Scan(p[:n])
				if err != nil {
					break
				}
			}
		})
		want := wsframe.Counts{Messages: 2, Text: 1, Binary: 1, Bytes: size + 2}
		if verdict.Kind == messages.KindDrop {
			want = wsframe.Counts{}
		}
		if c := s.Counts(); c != want || taken > 8<<20 {
			t.Errorf("%+v came out, and %d KiB were allocated", c, taken>>10)
		}
	}
	if count != 4 {
		t.Errorf("the handler was asked %d times", count)
	}
}

// TestFrameThatComesBitByBitIsNotVeryManyFragments has a relay not take a slow upstream
// for one that sends many small fragments.
func TestFrameThatComesBitByBitIsNotVeryManyFragments(t *testing.T) {
	t.Parallel()
	payload := strings.Repeat("slow ", 20000)
	got := &countingFragments{}
	begin := header(0x81, uint64(len(payload)), false)
	up := &scripted{pieces: append(whole(begin), byteByByte([]byte(payload))...)}
	conn, _ := newAlone(t, Config{Upstream: up})
	all, _ := readWith(conn, 1<<10)
	got.scan(t, all)
	if got.payload.String() != payload || got.small > 1 {
		t.Errorf("%d small fragments of %d, with %d bytes", got.small, got.all, got.payload.Len())
	}
}

type countingFragments struct {
	all, small int
	payload    bytes.Buffer
}

func (c *countingFragments) scan(t *testing.T, stream []byte) {
	t.Helper()
	for len(stream) > 0 {
		f, rest := readFrame(t, stream, false)
		stream = rest
		c.all++
		if len(f.payload) < wsframe.SmallFragment {
			c.small++
		}
		c.payload.Write(f.payload)
	}
}

func TestHalfSentMessagesAreBounded(t *testing.T) {
	relay.SetBuffers(8 << 20)
	defer relay.SetBuffers(0)
	before, _ := relay.Buffers()
	half := append(header(0x82, 1<<20, true), make([]byte, 1<<19)...)
	var held []*Conn
	for len(held) < 100 {
		conn, e := newAlone(t, Config{Upstream: &scripted{}, Chains: both(0, handlerFunc(pass))})
		held = append(held, conn)
		if _, err := conn.Write(bytes.Clone(half)); err != nil {
			t.Fatal(err)
		}
		if len(e.told) == 0 {
			continue
		}
		if e.told[0] != (rejection{relay.Client, 1013, 1001, relay.LimitBuffers}) {
			t.Errorf("refused with %+v", e.told[0])
		}
		break
	}
	if n := len(held); n < 4 || n > 9 {
		t.Errorf("%d half messages are held in 8 MiB", n-1)
	}
	for _, conn := range held {
		conn.Finish()
	}
	if used, _ := relay.Buffers(); used != before {
		t.Errorf("%d bytes count as held when all have ended", used-before)
	}
}
