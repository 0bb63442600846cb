package relay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
)

// ledger is a source of buffers that tells of every loan and return: +1 and -1.
type ledger struct{ moves chan int }

func newLedger() *ledger { return &ledger{make(chan int, 1<<16)} }

func (l *ledger) source() *bufferSource {
	return &bufferSource{
		get: func() *buffer { l.moves <- +1; return new(buffer) },
		put: func(*buffer) { l.moves <- -1 },

		writes: &processWrites,
	}
}

// waitFor waits until so many buffers were lent in all and every one is back.
func (l *ledger) waitFor(t *testing.T, loans int) {
	t.Helper()
	lent, out := 0, 0
	for lent < loans || out != 0 {
		move := take(t, fmt.Sprintf("%d loans and the returns of all: %d were lent, and %d are out", loans, lent, out), l.moves)
		out += move
		if move > 0 {
			lent++
		}
	}
}

// wrapped hides the type of a conn, as TLS does.
type wrapped struct{ net.Conn }

// sizes is a Reader that fills what it is given up to the next size, and notes
// how much it was given.
type sizes struct {
	left  []int
	given []int
}

func (s *sizes) Read(p []byte) (int, error) {
	s.given = append(s.given, len(p))
	if len(s.left) == 0 {
		return 0, io.EOF
	}
	n := min(len(p), s.left[0])
	if s.left[0] -= n; s.left[0] == 0 {
		s.left = s.left[1:]
	}
	return n, nil
}

func TestBufferedReaderBorrowsWhileReadsFillIt(t *testing.T) {
	t.Parallel()
	books := newLedger()
	in := &sizes{left: []int{10, 100_000, 10, 5_000, 10}}
	b := &bufferedReader{conn: in, buffers: books.source()}
	total, loans := 0, 0
	for {
		p, err := b.read()
		total += len(p)
		if b.lent != nil {
			loans++
		}
		b.release()
		if err != nil {
			break
		}
	}
	const small, large = smallSize, bufferSize
	want := []int{
		small,                             // 10
		small, large, large, large, large, // 100,000
		small,        // 10
		small, large, // 5,000
		small, // 10
		small, // the end
	}
	if !slices.Equal(in.given, want) {
		t.Errorf("read into buffers of %v, want %v", in.given, want)
	}
	if total != 105_030 {
		t.Errorf("read %d bytes, want 105030", total)
	}
	books.waitFor(t, loans)
}

func TestSocketReaderReadsDataThenTheEnd(t *testing.T) {
	t.Parallel()
	ours, peer := tcpPair(t)
	sent := bytes.Repeat([]byte("0123456789"), 10_000)
	go func() {
		_, _ = peer.Write(sent)
		_ = peer.CloseWrite()
	}()
	in := newReader(ours, &sharedBuffers)
	var got []byte
	for {
		p, err := in.read()
		got = append(got, p...)
		in.release()
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		break
	}
	if !bytes.Equal(got, sent) {
		t.Errorf("read %d bytes, want the %d that were sent", len(got), len(sent))
	}
	ours.Close()
	if _, err := in.read(); err == nil {
		t.Error("no error after Close")
	}
}
