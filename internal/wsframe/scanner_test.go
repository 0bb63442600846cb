package wsframe

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

func TestScannerCountsFrames(t *testing.T) {
	t.Parallel()
	frames := func(fs ...[]byte) []byte { return slices.Concat(fs...) }
	frame := func(op Opcode, fin bool, size int) []byte {
		return appendFrame(nil, op, fin, nil, make([]byte, size))
	}
	masked := func(op Opcode, fin bool, size int) []byte {
		return appendFrame(nil, op, fin, testKey, make([]byte, size))
	}
	compressed := frame(Text, final, 10)
	compressed[0] |= 0x40

	tests := map[string]struct {
		stream   []byte
		want     Counts
		boundary bool
	}{
		"nothing":                {nil, Counts{}, true},
		"empty text":             {frame(Text, final, 0), Counts{Messages: 1, Text: 1}, true},
		"empty masked binary":    {masked(Binary, final, 0), Counts{Messages: 1, Binary: 1}, true},
		"125, 7-bit length":      {frame(Text, final, 125), Counts{Messages: 1, Text: 1, Bytes: 125}, true},
		"126, 16-bit length":     {frame(Text, final, 126), Counts{Messages: 1, Text: 1, Bytes: 126}, true},
		"masked, 16-bit length":  {masked(Text, final, 65535), Counts{Messages: 1, Text: 1, Bytes: 65535}, true},
		"65536, 64-bit length":   {frame(Binary, final, 65536), Counts{Messages: 1, Binary: 1, Bytes: 65536}, true},
		"masked, 64-bit length":  {masked(Binary, final, 65536), Counts{Messages: 1, Binary: 1, Bytes: 65536}, true},
		"length longer than due": {[]byte{0x82, 127, 0, 0, 0, 0, 0, 0, 0, 1, 'x'}, Counts{Messages: 1, Binary: 1, Bytes: 1}, true},
		"fragments": {
			frames(frame(Text, fragment, 3), frame(Continuation, fragment, 0), frame(Continuation, final, 4)),
			Counts{Messages: 1, Text: 1, Bytes: 7}, true,
		},
		"control frames between fragments": {
			frames(masked(Binary, fragment, 3), masked(Ping, final, 5), masked(Pong, final, 0), masked(Continuation, final, 4)),
			Counts{Messages: 1, Binary: 1, Pings: 1, Pongs: 1, Bytes: 7}, true,
		},
		"last fragment missing": {
			frames(frame(Text, fragment, 3), frame(Continuation, fragment, 2)),
			Counts{Bytes: 5}, true,
		},
		"continuation of nothing":    {frame(Continuation, final, 4), Counts{Bytes: 4}, true},
		"reserved opcodes":           {frames(frame(0x3, final, 4), frame(0xF, final, 4)), Counts{}, true},
		"compressed":                 {compressed, Counts{Messages: 1, Text: 1, Bytes: 10}, true},
		"close frames":               {frames(frame(Close, final, 0), frame(Close, final, 2)), Counts{Closes: 2}, true},
		"first byte only":            {[]byte{0x81}, Counts{}, false},
		"header only":                {[]byte{0x81, 5}, Counts{}, false},
		"mask cut":                   {masked(Text, final, 0)[:5], Counts{}, false},
		"payload cut":                {frame(Text, final, 9)[:8], Counts{Bytes: 6}, false},
		"ends inside the next frame": {frames(frame(Text, final, 9), []byte{0x89}), Counts{Messages: 1, Text: 1, Bytes: 9}, false},
		"length with the top bit set": {
			frames([]byte{0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0}, frame(Text, final, 30)),
			Counts{Bytes: 32}, false,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scanBothWays(t, tt.stream, tt.want, tt.boundary)
		})
	}
}

// scanBothWays scans a stream at once and byte by byte.
func scanBothWays(t *testing.T, stream []byte, want Counts, boundary bool) {
	t.Helper()
	var whole, bytewise Scanner
	whole.Scan(stream)
	for i := range stream {
		bytewise.Scan(stream[i : i+1])
	}
	for how, s := range map[string]*Scanner{"whole": &whole, "byte by byte": &bytewise} {
		if got := s.Counts(); got != want {
			t.Errorf("%s: Counts() = %+v, want %+v", how, got, want)
		}
		if got := s.AtBoundary(); got != boundary {
			t.Errorf("%s: AtBoundary() = %v, want %v", how, got, boundary)
		}
	}
}

func TestScannerReadsFirstClose(t *testing.T) {
	t.Parallel()
	closing := func(key []byte, payload string) []byte {
		return appendFrame(nil, Close, final, key, []byte(payload))
	}
	long := strings.Repeat("r", 123)
	tests := map[string]struct {
		stream []byte
		code   int
		reason string
		ok     bool
	}{
		"none":                   {appendFrame(nil, Text, final, nil, []byte("\x03\xe8")), 0, "", false},
		"empty":                  {closing(nil, ""), NoStatus, "", true},
		"empty masked":           {closing(testKey, ""), NoStatus, "", true},
		"half a code":            {closing(nil, "\x03"), NoStatus, "", true},
		"code":                   {closing(nil, "\x03\xe8"), 1000, "", true},
		"code and reason":        {closing(nil, "\x03\xf4bye"), 1012, "bye", true},
		"masked":                 {closing(testKey, "\x03\xf4see you"), 1012, "see you", true},
		"longest":                {closing(testKey, "\x0f\xa0"+long), 4000, long, true},
		"longer than allowed":    {closing(testKey, "\x0f\xa0"+long+"more"), 4000, long, true},
		"not UTF-8":              {closing(nil, "\x03\xe8\xff"), 1000, "\xff", true},
		"cut":                    {closing(nil, "\x03\xe8bye")[:6], 0, "", false},
		"second does not matter": {slices.Concat(closing(nil, "\x03\xe8one"), closing(nil, "\x03\xe9two")), 1000, "one", true},
		"second after an empty":  {slices.Concat(closing(nil, ""), closing(nil, "\x03\xe9two")), NoStatus, "", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var whole, bytewise Scanner
			whole.Scan(tt.stream)
			for i := range tt.stream {
				bytewise.Scan(tt.stream[i : i+1])
			}
			for how, s := range map[string]*Scanner{"whole": &whole, "byte by byte": &bytewise} {
				code, reason, ok := s.Close()
				if code != tt.code || reason != tt.reason || ok != tt.ok {
					t.Errorf("%s: Close() = %d, %q, %v; want %d, %q, %v", how, code, reason, ok, tt.code, tt.reason, tt.ok)
				}
			}
		})
	}
}

func TestScanToBoundaryStopsAfterEachFrame(t *testing.T) {
	t.Parallel()
	sizes := []int{0, 1, 125, 126, 70_000, 0, 3}
	var stream []byte
	var ends []int
	for i, size := range sizes {
		key := testKey
		if i%2 == 0 {
			key = nil
		}
		stream = appendFrame(stream, Binary, final, key, make([]byte, size))
		ends = append(ends, len(stream))
	}
	for _, piece := range []int{1, 2, 7, 1000, len(stream)} {
		var s Scanner
		var got []int
		for at := 0; at < len(stream); {
			at += s.ScanToBoundary(stream[at:min(at+piece, len(stream))])
			if s.AtBoundary() {
				got = append(got, at)
			}
		}
		if !slices.Equal(got, ends) {
			t.Errorf("in pieces of %d: boundaries at %v, want %v", piece, got, ends)
		}
	}
	var s Scanner
	if n := s.ScanToBoundary(nil); n != 0 || !s.AtBoundary() {
		t.Errorf("ScanToBoundary(nil) = %d, AtBoundary() = %v; want 0, true", n, s.AtBoundary())
	}
}

func TestScannerIsTheSameHoweverTheStreamIsCut(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		stream := randomStream(rng, 40)
		cuts := make([]byte, 300)
		for i := range cuts {
			cuts[i] = byte(rng.IntN(256))
		}
		checkCuts(t, stream, cuts)
	}
}

// checkCuts scans the stream at once, in pieces, and frame by frame in pieces,
// and wants the same from all three.
func checkCuts(t *testing.T, stream, cuts []byte) {
	t.Helper()
	var whole, pieces, steps Scanner
	whole.Scan(stream)

	rest := stream
	for i := 0; len(rest) > 0; i++ {
		size := len(rest)
		if i < len(cuts) {
			size = min(size, int(cuts[i]))
		}
		piece := rest[:size]
		rest = rest[size:]
		pieces.Scan(piece)
		for len(piece) > 0 {
			n := steps.ScanToBoundary(piece)
			if n <= 0 || n > len(piece) {
				t.Fatalf("ScanToBoundary took %d of %d bytes", n, len(piece))
			}
			if n < len(piece) && !steps.AtBoundary() {
				t.Fatalf("ScanToBoundary stopped after %d of %d bytes inside a frame", n, len(piece))
			}
			piece = piece[n:]
		}
	}
	same(t, "in pieces", &pieces, &whole)
	same(t, "frame by frame", &steps, &whole)
}

func same(t *testing.T, how string, got, want *Scanner) {
	t.Helper()
	if got.Counts() != want.Counts() {
		t.Errorf("%s: Counts() = %+v, at once %+v", how, got.Counts(), want.Counts())
	}
	if got.AtBoundary() != want.AtBoundary() {
		t.Errorf("%s: AtBoundary() = %v, at once %v", how, got.AtBoundary(), want.AtBoundary())
	}
	code, reason, ok := got.Close()
	wantCode, wantReason, wantOK := want.Close()
	if code != wantCode || reason != wantReason || ok != wantOK {
		t.Errorf("%s: Close() = %d, %q, %v; at once %d, %q, %v", how, code, reason, ok, wantCode, wantReason, wantOK)
	}
}

func FuzzScannerCutAnywhere(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(randomStream(rand.New(rand.NewPCG(seed, 2)), 6), []byte{1, 0, 3, 200})
	}
	f.Add([]byte{0x88, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5}, []byte{1, 1, 1, 1, 1})
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		before := bytes.Clone(stream)
		checkCuts(t, stream, cuts)
		if !bytes.Equal(stream, before) {
			t.Error("scanning changed the stream")
		}
	})
}

func TestScannerStaysSmall(t *testing.T) {
	t.Parallel()
	if size := unsafe.Sizeof(Scanner{}); size > 256 {
		t.Errorf("a Scanner takes %d bytes, of which every connection has two; want at most 256", size)
	}
}

func TestScanDoesNotAllocate(t *testing.T) {
	stream := randomStream(rand.New(rand.NewPCG(3, 3)), 20)
	var s Scanner
	allocs := testing.AllocsPerRun(100, func() {
		s.Scan(stream[:len(stream)/2])
		for rest := stream[len(stream)/2:]; len(rest) > 0; {
			rest = rest[s.ScanToBoundary(rest):]
		}
		_, _ = s.Counts(), s.AtBoundary()
	})
	if allocs != 0 {
		t.Errorf("scanning allocates %v times a run, want 0", allocs)
	}
}

func BenchmarkScan(b *testing.B) {
	for name, size := range map[string]int{"size=32": 32, "size=64KiB": 64 << 10} {
		b.Run(name, func(b *testing.B) {
			var stream []byte
			for len(stream) < 128<<10 {
				stream = appendFrame(stream, Binary, final, testKey, make([]byte, size))
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(stream)))
			var s Scanner
			for b.Loop() {
				for rest := stream; len(rest) > 0; {
					n := min(len(rest), 32<<10)
					s.Scan(rest[:n])
					rest = rest[n:]
				}
			}
		})
	}
}
