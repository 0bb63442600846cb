package assembly

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// script makes the frames of a stream from random bytes, and returns what they say.
func script(seed []byte, masked, deflate bool) (stream []byte, want []told) {
	var s [32]byte
	copy(s[:], seed)
	r := rand.New(rand.NewChaCha8(s))
	for range 1 + r.IntN(12) {
		op := byte(1 + r.IntN(2))
		payload := randomText(r)
		want = append(want, told{op, payload})
		first := op
		if deflate && r.IntN(2) == 0 {
			payload = string(deflated([]byte(payload), nil))
			first |= 0x40
		}
		for {
			for range r.IntN(3) {
				stream = append(stream, frame(0x89+byte(r.IntN(2)), "ping", masked)...)
			}
			n := r.IntN(len(payload) + 1)
			if r.IntN(3) == 0 {
				n = len(payload)
			}
			if n == len(payload) {
				stream = append(stream, frame(first|0x80, payload, masked)...)
				break
			}
			stream = append(stream, frame(first, payload[:n], masked)...)
			first, payload = 0, payload[n:]
		}
	}
	stream = append(stream, frame(0x88, "\x0f\xa1bye", masked)...)
	return append(stream, "what follows"...), append(want, told{8, "\x0f\xa1bye"})
}

func randomText(r *rand.Rand) string {
	n := r.IntN(20)
	switch r.IntN(8) {
	case 0:
		n = r.IntN(400)
	case 1:
		n = r.IntN(70000)
	}
	var b strings.Builder
	for b.Len() < n {
		b.WriteString([]string{"a", "é", "€", "😀", "\x00", "work and play "}[r.IntN(6)])
	}
	return b.String()
}

func cutAt(r *rand.Rand, stream []byte) (pieces [][]byte) {
	for len(stream) > 0 {
		n := 1 + r.IntN(8)
		if r.IntN(4) == 0 {
			n = 1 + r.IntN(40000)
		}
		n = min(n, len(stream))
		pieces = append(pieces, stream[:n:n])
		stream = stream[n:]
	}
	return pieces
}

func cutConfigs() map[string]Config {
	agreed := handshake.Deflate{Agreed: true, Bits: 15}
	return map[string]Config{
		"streams":            {Client: agreed, Server: agreed},
		"assembled":          {Client: agreed, Server: agreed, Chains: both(time.Minute, handlerFunc(pass))},
		"assembled, small":   {Client: handshake.Deflate{Agreed: true, Bits: 9}, Server: handshake.Deflate{Agreed: true, Bits: 9}, Chains: both(0, handlerFunc(pass))},
		"streams, by blinds": {Client: agreed, Server: agreed, Chains: both(0, blind{pass})},
	}
}

// FuzzAssembleHoweverCut has the same come out, and what was sent, however a stream is cut.
func FuzzAssembleHoweverCut(f *testing.F) {
	for i := range 15 {
		f.Add([]byte{byte(i), 1, 2}, uint64(i))
	}
	f.Fuzz(func(t *testing.T, seed []byte, cut uint64) {
		for _, d := range []messages.Direction{messages.FromClient, messages.FromUpstream} {
			stream, want := script(seed, d == messages.FromClient, true)
			if d == messages.FromClient { // the relay passes nothing behind a close frame
				stream = stream[:len(stream)-len("what follows")]
			}
			for name, c := range cutConfigs() {
				got := passThrough(t, d, c, cutAt(rand.New(rand.NewPCG(cut, 1)), stream))
				if !reflect.DeepEqual(got.said, want) || got.unfinished != "" || len(got.rejected) > 0 {
					t.Errorf("%s, %v: other messages came out: %s", name, d, difference(got.said, want))
				}
				for _, c := range got.answers {
					if c != (told{0x0A, "ping"}) {
						t.Errorf("%s, %v: answered with %q", name, d, c)
					}
				}
				if len(got.controls) > 0 {
					t.Errorf("%s, %v: a ping or pong has passed: %q", name, d, got.controls)
				}
			}
		}
	})
}

func difference(got, want []told) string {
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			return fmt.Sprintf("%d of %d, the first that differs is %d", len(got), len(want), i)
		}
	}
	return "none"
}

// FuzzAnyStream has whatever comes pass or be refused the same way, however it is cut.
func FuzzAnyStream(f *testing.F) {
	for i := range 8 {
		stream, _ := script([]byte{byte(i)}, i%2 == 0, true)
		f.Add(stream[:min(len(stream), 3000)], uint64(i))
	}
	f.Add([]byte("\x01\x02\xe2\x82\x00\x00\x80\x01\xac\x82\x00"), uint64(1))
	f.Fuzz(func(t *testing.T, stream []byte, cut uint64) {
		for name, c := range cutConfigs() {
			c.MessageSize = 1000
			for _, d := range []messages.Direction{messages.FromClient, messages.FromUpstream} {
				at := passThrough(t, d, c, whole(append([]byte(nil), stream...)))
				again := passThrough(t, d, c, cutAt(rand.New(rand.NewPCG(cut, 2)), stream))
				if !reflect.DeepEqual(at.said, again.said) || !reflect.DeepEqual(at.rejected, again.rejected) {
					t.Errorf("%s, %v: %d messages and %v in one piece, %d and %v in many", name, d, len(at.said), at.rejected, len(again.said), again.rejected)
				}
				for _, m := range again.said {
					if m.op == 1 && !utf8.ValidString(m.payload) {
						t.Errorf("%s, %v: a text that is none has passed", name, d)
					}
				}
			}
		}
	})
}

func TestStreamIsTheSameCutAtEveryByte(t *testing.T) {
	t.Parallel()
	for name, c := range cutConfigs() {
		for i := range 10 {
			for _, d := range []messages.Direction{messages.FromClient, messages.FromUpstream} {
				stream, want := script([]byte{byte(i), 7}, d == messages.FromClient, i%2 == 0)
				if len(stream) > 20000 {
					continue
				}
				if got := passThrough(t, d, c, byteByByte(stream[:len(stream)-len("what follows")])); !reflect.DeepEqual(got.said, want) {
					t.Errorf("%s, %v, %d: other messages came out: %s", name, d, i, difference(got.said, want))
				}
			}
		}
	}
}
