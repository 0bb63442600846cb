package wsframe

import (
	"bytes"
	"fmt"
	"testing"
)

func TestAppendFrameIsWhatParseHeaderReads(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 125, 126, 127, 65535, 65536, 70000} {
		payload := make([]byte, size)
		for i := range payload {
			payload[i] = byte(i * 7)
		}
		for i := range 8 {
			final, deflated, masked := i&1 > 0, i&2 > 0, i&4 > 0
			before := []byte("before")
			got := AppendFrame(before, Binary, final, deflated, payload, masked)
			h, complete := ParseHeader(got[len(before):])
			want := Header{Opcode: Binary, Final: final, Masked: masked, Minimal: true, Key: h.Key, Length: uint64(size), Size: h.Size}
			if deflated {
				want.Reserved = Deflate
			}
			if !complete || h != want || masked != (h.Key != [4]byte{}) {
				t.Errorf("%d bytes: header %+v, want %+v", size, h, want)
			}
			body := bytes.Clone(got[len(before)+h.Size:])
			naiveMask(body, h.Key, 0)
			if string(got[:len(before)]) != "before" || !bytes.Equal(body, payload) {
				t.Errorf("%d bytes: another payload came back", size)
			}
		}
	}
}

func TestAppendFrameLeavesThePayloadAlone(t *testing.T) {
	t.Parallel()
	payload := []byte("the handler may need it")
	AppendFrame(nil, Text, true, false, payload, true)
	if string(payload) != "the handler may need it" {
		t.Errorf("the payload is %q now", payload)
	}
}

func naiveMask(p []byte, key [4]byte, offset uint64) {
	for i := range p {
		p[i] ^= key[(offset+uint64(i))%4]
	}
}

func TestMaskIsTheNaiveOne(t *testing.T) {
	t.Parallel()
	for size := range 100 {
		for offset := range uint64(9) {
			for _, key := range [][4]byte{{1, 2, 3, 4}, {0, 0, 0, 9}, {}} {
				got := bytes.Repeat([]byte{0xA5}, size)
				want := bytes.Clone(got)
				Mask(got, key, offset)
				naiveMask(want, key, offset)
				if !bytes.Equal(got, want) {
					t.Fatalf("%d bytes at %d: %x, want %x", size, offset, got, want)
				}
			}
		}
	}
}

func BenchmarkMask(b *testing.B) {
	for _, size := range []int{16, 128, 4 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			p := make([]byte, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				Mask(p, [4]byte{1, 2, 3, 4}, 1)
			}
		})
	}
}
