package convert

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

// random makes documents of JSON.
type random struct {
	*rand.Rand
	integers int // of at most so many bits
}

func (r random) document(depth int) []byte {
	switch kind := r.IntN(8); {
	case kind == 0 && depth > 0:
		return r.list(depth, '[', ']', func() []byte { return r.document(depth - 1) })
	case kind <= 2 && depth > 0:
		seen := map[string]bool{}
		return r.list(depth, '{', '}', func() []byte {
			name := r.text()
			for seen[string(name)] {
				name = r.text()
			}
			seen[string(name)] = true
			return append(append(name, ':'), r.document(depth-1)...)
		})
	case kind == 3:
		return [][]byte{[]byte("null"), []byte("true"), []byte("false")}[r.IntN(3)]
	case kind == 4:
		return r.integer()
	case kind == 5:
		return r.float()
	}
	return r.text()
}

func (r random) list(depth int, begin, end byte, element func() []byte) []byte {
	out := []byte{begin}
	n := r.IntN(6)
	if r.IntN(10) == 0 {
		n = r.IntN(300 / depth)
	}
	for i := range n {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, element()...)
	}
	return append(out, end)
}

func (r random) text() []byte {
	runes := make([]rune, r.IntN(40))
	for i := range runes {
		runes[i] = rune(r.IntN([]int{128, 0x800, 0xd800, 0x110000}[r.IntN(4)]))
	}
	text, err := json.Marshal(string(runes)) // what is no rune becomes U+FFFD
	if err != nil {
		panic(err)
	}
	return text
}

func (r random) integer() []byte {
	digits := strconv.FormatUint(r.Uint64()>>r.IntN(64), 10)
	if r.IntN(2) == 0 && r.integers == 64 {
		digits = strconv.FormatInt(int64(r.Uint64())>>r.IntN(64), 10)
	}
	if r.integers > 64 && r.IntN(2) == 0 {
		digits = "1" + digits + strconv.FormatUint(r.Uint64(), 10)
		if r.IntN(2) == 0 {
			digits = "-" + digits
		}
	}
	return []byte(digits)
}

func (r random) float() []byte {
	f := math.Float64frombits(r.Uint64())
	switch r.IntN(4) {
	case 0:
		f = float64(math.Float32frombits(r.Uint32()))
	case 1:
		f = float64(r.IntN(1<<20)) / 64
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		f = -0.1
	}
	format := []byte("fge")[r.IntN(3)]
	if math.Abs(f) > 1e18 {
		format = 'e' // or it is an integer
	}
	return strconv.AppendFloat(nil, f, format, -1, 64)
}

func TestRoundTripsKeepValues(t *testing.T) {
	for seed := range uint64(50) {
		for to, integers := range map[string]int{"cbor": 128, "msgpack": 64} {
			r := random{rand.New(rand.NewPCG(seed, 15)), integers}
			document := r.document(5)
			binary, err := checked(t, "json", to, document)
			if err != nil {
				t.Fatalf("json to %s, %s: %v", to, document, err)
			}
			text, err := checked(t, to, "json", binary)
			if err != nil {
				t.Fatalf("%s to json, %q: %v", to, binary, err)
			}
			// What JSON has spelled is the same from there on.
			again, err := checked(t, "json", to, text)
			if err != nil {
				t.Fatalf("json to %s, %s: %v", to, text, err)
			}
			if back, err := checked(t, to, "json", again); err != nil || !bytes.Equal(back, text) {
				t.Fatalf("%s, %s became %s, %v", to, text, back, err)
			}
			if integers == 64 {
				other, err := checked(t, "msgpack", "cbor", binary)
				if err != nil {
					t.Fatal(err)
				}
				if back, err := checked(t, "cbor", "msgpack", other); err != nil || !bytes.Equal(back, binary) {
					t.Fatalf("msgpack to cbor and back, %q became %q, %v", binary, back, err)
				}
			}
		}
	}
}

func TestKeysStayInOrder(t *testing.T) {
	document := []byte{'{'}
	for i := range 1000 {
		if i > 0 {
			document = append(document, ',')
		}
		document = append(document, `"k`+strconv.Itoa(i*7919%1000)+`":[`+strconv.Itoa(i)+`]`...)
	}
	document = append(document, '}')
	for _, to := range []string{"cbor", "msgpack"} {
		binary, err := convert(bytes.Clone(document), formats["json"], formats[to], time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if text, err := convert(binary, formats[to], formats["json"], time.Time{}); err != nil || !bytes.Equal(text, document) {
			t.Errorf("%s: got %.100s, %v", to, text, err)
		}
	}
}

func TestHalfFloatsStayAndGrowLessThanNineTimes(t *testing.T) {
	for bits := range 1 << 16 {
		half := []byte{0xf9, byte(bits >> 8), byte(bits)}
		if bits&0x7c00 == 0x7c00 {
			continue // NaN, the infinities
		}
		text, err := convert(bytes.Clone(half), formats["cbor"], formats["json"], time.Time{})
		if err != nil || len(text)+1 >= 9*len(half) {
			t.Fatalf("%x: %s, %v", half, text, err)
		}
		f, err := strconv.ParseFloat(string(text), 64)
		if want := float(25, uint64(bits)); err != nil || math.Float64bits(f) != math.Float64bits(want) {
			t.Fatalf("%x: %s, want %v", half, text, want)
		}
	}
}
