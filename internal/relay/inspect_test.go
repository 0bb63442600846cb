package relay

import (
	"bytes"
	"encoding/binary"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// inspector passes the stream of one side through the rules, as either way to relay
// does.
type inspector struct {
	relay    *Relay
	from, to *side
	kept     []byte
	passed   []byte
	over     bool // nothing passes any more
}

func newInspector(party Party, policy Policy) *inspector {
	near, far := net.Pipe()
	r := New(Config{Client: near, Upstream: far, Policy: &policy})
	r.looped, r.running = true, true // so that nothing is written
	x := &inspector{relay: r, from: &r.client, to: &r.upstream}
	if party == Upstream {
		x.from, x.to = x.to, x.from
	}
	return x
}

// feed takes the next bytes of the stream.
func (x *inspector) feed(t *testing.T, p []byte) {
	t.Helper()
	p = append(x.kept, p...)
	x.kept = nil
	for len(p) > 0 && !x.over {
		next := x.relay.takeBaton(x.from, x.to, slices.Clip(p), 0)
		if next.n < 0 || next.n > len(p) {
			t.Fatalf("%d of %d bytes", next.n, len(p))
		}
		switch next.fate {
		case fatePass:
			if next.n == 0 {
				t.Fatal("nothing is passed, and nothing else happens")
			}
			x.passed = append(x.passed, p[:next.n]...)
			x.relay.pieceWritten(x.from, x.to, nil, 0)
			p = p[next.n:]
		case fateSwallow:
			p = p[next.n:]
		case fateShort:
			if len(p) > 14+125 {
				t.Fatalf("%d bytes are not enough to judge a frame", len(p))
			}
			x.kept = bytes.Clone(p)
			return
		case fateDrop:
			x.over = true
		case fateWait, fateBusy, fateBreach:
			t.Fatalf("fate %d", next.fate)
		}
	}
}

// key is the payload of our pings.
func (x *inspector) key() []byte { return binary.LittleEndian.AppendUint64(nil, x.relay.pingKey()) }

// own returns a stream with the key in place of the one that stands for it.
func (x *inspector) own(stream []byte) []byte {
	return bytes.ReplaceAll(stream, []byte("our ping"), x.key())
}

// general undoes own.
func (x *inspector) general(p []byte) []byte { return bytes.ReplaceAll(p, x.key(), []byte("our ping")) }

// verdict is why the connection ends, if it does.
func (x *inspector) verdict() Close {
	if x.relay.ending == nil {
		return Close{}
	}
	return x.relay.ending.cause
}

// keyElsewhere reports whether what stands for a key is anywhere but in a pong, as all that
// it says: another key would make it another stream.
func keyElsewhere(stream []byte) bool {
	const key = "our ping"
	keys := bytes.Count(stream, []byte(key))
	for len(stream) > 0 {
		h, complete := wsframe.ParseHeader(stream)
		if !complete || h.Length > uint64(len(stream)-h.Size) {
			break
		}
		end := h.Size + int(h.Length)
		if h.Opcode == wsframe.Pong && string(stream[h.Size:end]) == key {
			keys--
		}
		stream = stream[end:]
	}
	return keys > 0
}

// checkPieces has the same come of a stream however it is cut.
func checkPieces(t *testing.T, party Party, policy Policy, stream, cuts []byte) {
	t.Helper()
	if keyElsewhere(stream) {
		return
	}
	whole, pieces := newInspector(party, policy), newInspector(party, policy)
	whole.feed(t, whole.own(stream))
	rest := pieces.own(stream)
	for i := 0; len(rest) > 0; i++ {
		size := len(rest)
		if i < len(cuts) {
			size = min(size, int(cuts[i]))
		}
		pieces.feed(t, rest[:size])
		rest = rest[size:]
	}
	if got, want := pieces.verdict(), whole.verdict(); got != want {
		t.Errorf("ends with %+v in pieces, and with %+v at once", got, want)
	}
	if got, want := pieces.general(pieces.passed), whole.general(whole.passed); whole.verdict().Code == 1007 {
		if !bytes.HasPrefix(got, want) { // what came of the frame before the fault may have passed
			t.Errorf("%x passes in pieces, and %x at once", got, want)
		}
	} else if !bytes.Equal(got, want) {
		t.Errorf("%x passes in pieces, and %x at once", got, want)
	}
	if len(pieces.kept) != len(whole.kept) && !whole.over {
		t.Errorf("%x is kept in pieces, and %x at once", pieces.kept, whole.kept)
	}
	if !policy.Strict && policy.MessageSize == 0 && whole.relay.ending == nil && !bytes.Equal(append(whole.passed, whole.kept...), whole.own(stream)) {
		t.Errorf("%x passes of %x", whole.passed, stream)
	}
}

var inspected = []Policy{
	{},
	{MessageSize: 20},
	{Strict: true},
	{Strict: true, MessageSize: 100, PingInterval: time.Hour, PingTimeout: time.Hour, IdleTimeout: time.Hour},
}

func FuzzPiecesHoweverTheStreamIsCut(f *testing.F) {
	ours := frame(wsframe.Pong, true, []byte("our ping"))
	for _, stream := range [][]byte{
		slices.Concat(maskedText("hello"), ours, frame(wsframe.Ping, true, []byte("you?")), maskedClose(1000, "bye")),
		slices.Concat(part(1, true, false, "a\xe2"), ours, part(0, true, true, "\x82\xac"), frame(2, true, make([]byte, 30))),
		slices.Concat(text("hello"), frame(0xA, false, []byte("our ping")), header(0x82, false, 1<<63)),
		slices.Concat(maskedText("a\xff"), maskedText("b")),
		slices.Concat(frame(8, true, []byte{3}), maskedText("behind")),
		maskedClose(1000, "our ping"),
		{0x81, 0xFE, 0, 126}, {0x08, 0x80, 1, 2, 3, 4}, {0x91, 0x80, 1, 2, 3, 4},
	} {
		for policy := range inspected {
			f.Add(stream, []byte{1, 0, 3, 2, 200}, byte(policy))
		}
	}
	f.Fuzz(func(t *testing.T, stream, cuts []byte, how byte) {
		before := bytes.Clone(stream)
		checkPieces(t, Party(how>>7), inspected[int(how)%len(inspected)], stream, cuts)
		if !bytes.Equal(stream, before) {
			t.Error("inspecting has changed the stream")
		}
	})
}

func TestInspectingDoesNotAllocate(t *testing.T) {
	stream := slices.Concat(maskedText("hello"), frame(wsframe.Pong, true, []byte("our ping")), part(1, true, false, "é"), frame(wsframe.Ping, true, []byte("you?")), part(0, true, true, "€"))
	policy := inspected[3]
	policy.Messages = Rate{Count: 1 << 40, Per: time.Second, Burst: 1 << 40}
	policy.Bytes = policy.Messages
	x := newInspector(Client, policy)
	stream = x.own(stream)
	allocs := testing.AllocsPerRun(100, func() {
		for p := stream; len(p) > 0; {
			next := x.relay.takeBaton(x.from, x.to, p, int64(time.Hour))
			if next.fate == fatePass {
				x.relay.pieceWritten(x.from, x.to, nil, int64(time.Hour))
			}
			if next.n == 0 {
				t.Fatalf("fate %d of %x", next.fate, p)
			}
			p = p[next.n:]
		}
	})
	if allocs != 0 {
		t.Errorf("inspecting allocates %v times a run, want 0", allocs)
	}
}
