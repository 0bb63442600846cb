package wsframe

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestParseHeader(t *testing.T) {
	t.Parallel()
	key := [4]byte(testKey)
	tests := map[string]struct {
		header []byte
		want   Header
	}{
		"empty text":             {[]byte{0x81, 0}, Header{Opcode: Text, Final: true, Minimal: true, Size: 2}},
		"fragment":               {[]byte{0x02, 125}, Header{Opcode: Binary, Minimal: true, Length: 125, Size: 2}},
		"masked":                 {append([]byte{0x80, 0x85}, testKey...), Header{Final: true, Masked: true, Minimal: true, Key: key, Length: 5, Size: 6}},
		"16-bit length":          {[]byte{0x82, 126, 0, 126}, Header{Opcode: Binary, Final: true, Minimal: true, Length: 126, Size: 4}},
		"16-bit length, too big": {[]byte{0x82, 126, 0, 125}, Header{Opcode: Binary, Final: true, Length: 125, Size: 4}},
		"16-bit length, masked": {
			append([]byte{0x89, 0xFE, 0xFF, 0xFF}, testKey...),
			Header{Opcode: Ping, Final: true, Masked: true, Minimal: true, Key: key, Length: 0xFFFF, Size: 8},
		},
		"64-bit length": {
			[]byte{0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0},
			Header{Opcode: Binary, Final: true, Minimal: true, Length: 1 << 16, Size: 10},
		},
		"64-bit length, too big": {
			[]byte{0x82, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF},
			Header{Opcode: Binary, Final: true, Length: 0xFFFF, Size: 10},
		},
		"64-bit length, masked": {
			append([]byte{0x82, 0xFF, 1, 2, 3, 4, 5, 6, 7, 8}, testKey...),
			Header{Opcode: Binary, Final: true, Masked: true, Minimal: true, Key: key, Length: 0x0102030405060708, Size: 14},
		},
		"topmost bit": {
			[]byte{0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0},
			Header{Opcode: Binary, Final: true, Minimal: true, Length: 1 << 63, Size: 10},
		},
		"reserved bits":     {[]byte{0xF1, 0}, Header{Opcode: Text, Final: true, Minimal: true, Reserved: 0x70, Size: 2}},
		"one of them":       {[]byte{0x12, 0}, Header{Opcode: Binary, Minimal: true, Reserved: 0x10, Size: 2}},
		"reserved opcode":   {[]byte{0x8F, 0}, Header{Opcode: 0xF, Final: true, Minimal: true, Size: 2}},
		"a key that is not": {[]byte{0x81, 0x80, 0, 0, 0, 0}, Header{Opcode: Text, Final: true, Masked: true, Minimal: true, Size: 6}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i := range tt.header {
				if h, complete := ParseHeader(tt.header[:i]); complete || h != (Header{}) {
					t.Errorf("the first %d bytes are %+v, complete: %v", i, h, complete)
				}
			}
			for _, behind := range [][]byte{nil, {0xFF}, bytes.Repeat([]byte{0xFF}, 20)} {
				if h, complete := ParseHeader(slices.Concat(tt.header, behind)); !complete || h != tt.want {
					t.Errorf("with %d bytes behind: %+v, complete: %v; want %+v", len(behind), h, complete, tt.want)
				}
			}
		})
	}
}

func TestHeaderKinds(t *testing.T) {
	t.Parallel()
	for op := range Opcode(16) {
		h, _ := ParseHeader([]byte{byte(op), 0})
		if data := op == Continuation || op == Text || op == Binary; h.Data() != data {
			t.Errorf("opcode %#x: Data() = %v", op, h.Data())
		}
		if control := op >= 8; h.Control() != control {
			t.Errorf("opcode %#x: Control() = %v", op, h.Control())
		}
	}
	for length, endless := range map[uint64]bool{0: false, 1<<63 - 1: false, 1 << 63: true, 1<<64 - 1: true} {
		if got := (Header{Length: length}).Endless(); got != endless {
			t.Errorf("length %#x: Endless() = %v", length, got)
		}
	}
}

func BenchmarkParseHeader(b *testing.B) {
	for name, header := range map[string][]byte{
		"short":         {0x81, 32},
		"short, masked": {0x81, 0x80 | 32, 1, 2, 3, 4},
		"long, masked":  {0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, complete := ParseHeader(header); !complete {
					b.Fatal("not complete")
				}
			}
		})
	}
}

// BenchmarkFollowFrames has what a relay adds for each frame: the header is parsed and
// judged, and the payload validated.
func BenchmarkFollowFrames(b *testing.B) {
	var stream []byte
	for len(stream) < 32<<10 {
		stream = appendFrame(stream, Text, final, testKey, []byte("32 bytes, as games or ticks send"))
	}
	frames := len(stream) / (6 + 32)
	b.ReportAllocs()
	b.SetBytes(int64(len(stream)))
	for b.Loop() {
		followAll(b, stream)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*frames), "ns/frame")
}

// followAll follows masked frames that violate nothing.
func followAll(tb testing.TB, stream []byte) {
	var d Discipline
	var u UTF8
	for rest := stream; len(rest) > 0; {
		h, complete := ParseHeader(rest)
		if !complete || d.Judge(h, true, 0).Found() {
			tb.Fatal("not a frame that may be here")
		}
		payload := rest[h.Size:][:h.Length]
		if d.MustBeUTF8() && (!u.Scan(payload, h.Key, 0) || h.Final && !u.Complete()) {
			tb.Fatal("not UTF-8")
		}
		rest = rest[h.Size+len(payload):]
	}
}

func TestFollowingFramesDoesNotAllocate(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 5))
	var stream []byte
	for range 50 {
		stream = appendFrame(stream, Text, fragment, testKey, []byte("über "))
		stream = appendFrame(stream, Ping, final, testKey, []byte("still there?"))
		stream = appendFrame(stream, Continuation, final, testKey, bytes.Repeat([]byte("€"), rng.IntN(400)))
	}
	closing := []byte("\x03\xe8bye")
	var ping [20]byte
	allocs := testing.AllocsPerRun(100, func() {
		followAll(t, stream)
		if CheckClose(closing).Found() || len(AppendPing(ping[:0], closing)) != 7 {
			t.Error("a close or a ping frame went wrong")
		}
	})
	if allocs != 0 {
		t.Errorf("following frames allocates %v times a run, want 0", allocs)
	}
}
