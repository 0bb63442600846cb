package main

import (
	"bufio"
	"bytes"
	"net/url"
	"strings"
	"testing"
)

func TestPlanTravelsInItsTarget(t *testing.T) {
	t.Parallel()
	var s storm
	for number := range int64(200) {
		p := draw(s.random(number), number, "h1")
		u, err := url.ParseRequestURI(p.target())
		if err != nil {
			t.Fatal(err)
		}
		id, script, err := scriptOf(u)
		if err != nil || id != p.ID || script != p.script {
			t.Fatalf("%s became %s %+v, %v", &p, id, script, err)
		}
	}
}

func TestSameSeedDrawsTheSame(t *testing.T) {
	t.Parallel()
	one, same, other := storm{seed: 1}, storm{seed: 1}, storm{seed: 2}
	p, q, r := draw(one.random(7), 7, "h2"), draw(same.random(7), 7, "h2"), draw(other.random(7), 7, "h2")
	if p != q || p == r {
		t.Errorf("drew %s and %s, and of another seed %s", &p, &q, &r)
	}
}

func TestFramesAreReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 125, 126, 65_535, 65_536} {
		for _, mask := range []uint32{0, 0x01020304} {
			want := text(strings.Repeat("x", size))
			got, err := readFrame(bufio.NewReader(bytes.NewReader(want.bytes(mask))))
			if err != nil || got.op != want.op || !bytes.Equal(got.payload, want.payload) {
				t.Errorf("%d bytes, masked by %x: got %d bytes, %v", size, mask, len(got.payload), err)
			}
		}
	}
}
