package stream

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// largeStream is a random stream in which one event is as large as they get.
func largeStream(rng *rand.Rand) []byte {
	text := randomStream(rng, 1+rng.IntN(30))
	if rng.IntN(4) > 0 {
		return text
	}
	end := lineEnds[rng.IntN(len(lineEnds))]
	text = append(text, end+end+"data: "+strings.Repeat("x", rng.IntN(1<<20))+end+end...)
	return append(text, randomStream(rng, 1+rng.IntN(30))...)
}

// pieceOf is how much of what is left comes, or is read, at once.
func pieceOf(rng *rand.Rand, left int) int {
	if rng.IntN(3) == 0 {
		return min(left, 1+rng.IntN(8))
	}
	return min(left, 1+rng.IntN(64<<10))
}

// TestStreamsEndAsTheirClientsSeeThem has random streams end at random moments, of which
// many are those at which something comes.
func TestStreamsEndAsTheirClientsSeeThem(t *testing.T) {
	t.Parallel()
	for seed := range uint64(150) {
		synctest.Test(t, func(t *testing.T) { endAtRandom(t, seed) })
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

func endAtRandom(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(3, seed))
	text := largeStream(rng)
	far, upstream := io.Pipe()
	s := New(Config{Body: far, Client: new(witness)})
	pieces := sized(rng, len(text))
	var others sync.WaitGroup
	others.Go(func() { // which leaves its stream open
		for rest := text; len(rest) > 0; bubble.Elapse(time.Millisecond) {
			n := pieces(len(rest))
			if _, err := upstream.Write(rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
	})
	var atEnd uint64 // how many events had passed
	delay := time.Duration(rng.IntN(20)) * time.Millisecond
	others.Go(func() {
		bubble.Elapse(delay)
		s.End(drained, relay.Close{})
		_, counts := s.Counts()
		atEnd = counts.Messages
	})
	got, err := readAll(s, rand.New(rand.NewPCG(4, seed)))
	_ = s.Close()
	others.Wait()
	checkPassed(t, text, got, err, s.Outcome(), atEnd)
}

// sized returns a function that cuts the next piece, and is called by one goroutine.
func sized(rng *rand.Rand, length int) func(left int) int {
	least := length/100 + 1 // so that everything has come long before the stream is cut
	own := rand.New(rand.NewPCG(rng.Uint64(), 5))
	return func(left int) int { return min(left, least+pieceOf(own, left)) }
}

// readAll reads a stream with buffers of any size.
func readAll(r io.Reader, rng *rand.Rand) (got []byte, err error) {
	for err == nil {
		buf := make([]byte, pieceOf(rng, 1<<20))
		var n int
		n, err = r.Read(buf)
		got = append(got, buf[:n]...)
	}
	return got, err
}

func checkPassed(t *testing.T, text, got []byte, err error, out relay.Outcome, atEnd uint64) {
	t.Helper()
	if !bytes.HasPrefix(text, got) {
		t.Fatalf("what has passed is not how the stream begins: %.200q", got)
	}
	rest := text[len(got):]
	p, whole := parse(got), parse(text)
	switch {
	case errors.Is(err, io.EOF):
		if p.torn || isTorn(got, rest) {
			t.Errorf("it is torn behind %.200q", got[max(0, len(got)-200):])
		}
	case !errors.Is(err, errCut):
		t.Errorf("it ended with %v", err)
	case len(rest) > 0 || !p.torn && !bytes.HasSuffix(got, []byte("\r")):
		t.Errorf("it was cut, with %d bytes to come", len(rest))
	}
	if n := len(p.events); !slices.Equal(p.events, whole.events[:min(n, len(whole.events))]) {
		t.Error("the client sees other events than there are")
	}
	if out.By != relay.Gateway || out.Reason != drained.Reason || out.Torn {
		t.Errorf("the outcome is %+v", out)
	}
	if c := out.FromUpstream; c.Messages != uint64(len(p.events)) || c.Text != c.Messages || c.Bytes != uint64(len(got)) {
		t.Errorf("counted %+v, want %d events and %d bytes", c, len(p.events), len(got))
	}
	if out.FromUpstream.Messages > atEnd+1 && !isUnsure(text) {
		t.Errorf("%d events have passed, %d of them before the end was due", out.FromUpstream.Messages, atEnd)
	}
}
