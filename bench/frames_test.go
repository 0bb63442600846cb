//go:build linux

package main

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// serverFrame is what a backend makes of a client's frame of that shape.
func serverFrame(s *shape, st stamp) []byte {
	payload := s.stamped(st)[s.at:]
	return append(slices.Clone(s.header), payload...)
}

func TestBackendReturnsFramesUnmaskedHoweverTheyArrive(t *testing.T) {
	t.Parallel()
	var in, want []byte
	for i, size := range []int{16, 125, 126, 1000, 65535, 65536, 20} {
		s := shapeOf(size)
		st := stamp{int64(i), 1, uint32(i)}
		in = append(in, s.stamped(st)...)
		want = append(want, serverFrame(s, st)...)
	}
	for _, piece := range []int{1, 2, 3, 5, 7, 13, 100, 4096, len(in)} {
		var u unmask
		var got []byte
		for at := 0; at < len(in); at += piece {
			part := slices.Clone(in[at:min(at+piece, len(in))])
			got = append(got, u.apply(part)...)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("in pieces of %d: %d bytes that are not the %d wanted", piece, len(got), len(want))
		}
	}
}

func TestBackendSeesTheClose(t *testing.T) {
	t.Parallel()
	var u unmask
	got := u.apply([]byte{0x80 | opClose, 0x82, 1, 2, 3, 4, 3 ^ 1, 232 ^ 2})
	if want := []byte{0x80 | opClose, 2, 3, 232}; !bytes.Equal(got, want) || !u.closed {
		t.Errorf("got %x, closed %v; want %x", got, u.closed, want)
	}
}

func TestInboxTakesWhatWasSentHoweverItArrives(t *testing.T) {
	t.Parallel()
	for _, size := range []int{16, 32, 200, 70000} {
		s := shapeOf(size)
		var stream []byte
		for i := range 3 {
			stream = append(stream, serverFrame(s, stamp{7, 8, uint32(i)})...)
		}
		for _, piece := range []int{1, 9, 4096, len(stream)} {
			var in inbox
			var got []uint32
			for at := 0; at < len(stream); at += piece {
				err := in.take(s, stream[at:min(at+piece, len(stream))], func(st stamp) error {
					got = append(got, st.seq)
					return same(st, stamp{7, 8, st.seq})
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(got, []uint32{0, 1, 2}) {
				t.Errorf("size %d in pieces of %d: got %v", size, piece, got)
			}
		}
	}
}

func TestInboxNoticesChangedBytes(t *testing.T) {
	t.Parallel()
	s := shapeOf(300)
	whole := serverFrame(s, stamp{1, 2, 3})
	for at := range whole {
		changed := slices.Clone(whole)
		changed[at]++
		var in inbox
		err := in.take(s, changed, func(st stamp) error { return same(st, stamp{1, 2, 3}) })
		if !errors.Is(err, errChanged) {
			t.Errorf("byte %d changed: %v", at, err)
		}
	}
}

func TestSpanIsTheMedianWithTheExtremes(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		values []float64
		want   string
	}{
		{nil, "—"},
		{[]float64{1.234}, "1.23"},
		{[]float64{3, 1, 2}, "2.00 (1.00–3.00)"},
		{[]float64{40, 10, 20, 1000}, "30.0 (10.0–1000)"},
	} {
		if got := spanOf(row.values).String(); got != row.want {
			t.Errorf("%v: %q, want %q", row.values, got, row.want)
		}
	}
}

func TestRatiosAreThoseOfARound(t *testing.T) {
	t.Parallel()
	r := report{Samples: []sample{
		{"ws", "echo", "CPU", "a", 0, 2}, {"ws", "echo", "CPU", "b", 0, 1},
		{"ws", "echo", "CPU", "a", 1, 30}, {"ws", "echo", "CPU", "b", 1, 10},
		{"ws", "echo", "CPU", "a", 2, 5}, // of which the other round failed
	}}
	if got, want := r.ratio("ws", "echo", "CPU", "a", "b"), (span{2.5, 2, 3, 2}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPingsAreToldFromMessagesHoweverTheyArrive(t *testing.T) {
	t.Parallel()
	s := shapeOf(20)
	ping := append(appendHeader(nil, opPing, 5, false), "hello"...)
	wire := slices.Concat(ping, serverFrame(s, stamp{seq: 1}), ping, appendHeader(nil, opPing, 0, false), serverFrame(s, stamp{seq: 2}))
	for _, piece := range []int{1, 2, 3, 7, len(wire)} {
		var pings []string
		var seqs []uint32
		in := inbox{pinged: func(payload []byte) error {
			pings = append(pings, string(payload))
			return nil
		}}
		for at := 0; at < len(wire); at += piece {
			err := in.take(s, wire[at:min(at+piece, len(wire))], func(st stamp) error {
				seqs = append(seqs, st.seq)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(pings, []string{"hello", "hello", ""}) || !slices.Equal(seqs, []uint32{1, 2}) {
			t.Errorf("in pieces of %d: pings %q and messages %v", piece, pings, seqs)
		}
	}
	var in inbox
	if err := in.take(s, ping, func(stamp) error { return nil }); !errors.Is(err, errChanged) {
		t.Errorf("a ping that nobody expects: %v", err)
	}
}
