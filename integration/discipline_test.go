package integration

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// offence is what breaks a rule of RFC 6455, from either side.
type offence struct {
	name  string
	code  int
	sent  func(encode func(...frame) []byte) []byte
	first int // so many bytes of sent are without fault and may have passed
	ends  bool
}

// rawHeader begins a frame by hand: a byte of flags and opcode, and the length in a form
// that an encoder would not choose. Masks are zero, so that payloads are the same.
func rawHeader(masked bool, first, form byte, length ...byte) []byte {
	b := []byte{first, form}
	if masked {
		b[1] |= 0x80
	}
	b = append(b, length...)
	if masked {
		b = append(b, 0, 0, 0, 0)
	}
	return b
}

// offences has all that strict forbids, as it comes from a client or an upstream.
func offences(masked bool) []offence {
	frames := func(f ...frame) func(func(...frame) []byte) []byte {
		return func(encode func(...frame) []byte) []byte { return encode(f...) }
	}
	raw := func(pieces ...[]byte) func(func(...frame) []byte) []byte {
		return func(func(...frame) []byte) []byte { return join(pieces...) }
	}
	otherWay := text("the wrong way").clientBytes()
	if masked {
		otherWay = text("the wrong way").serverBytes()
	}
	begun := part(opText, "begun")
	head := 2 + len(begun.payload)
	if masked {
		head += 4
	}
	all := []offence{
		{name: "masked the wrong way", code: 1002, sent: raw(otherWay)},
		{name: "RSV1 without an extension", code: 1002, sent: frames(frame{fin: true, rsv: 0x40, op: opText, payload: []byte("x")})},
		{name: "RSV2", code: 1002, sent: frames(frame{fin: true, rsv: 0x20, op: opBinary})},
		{name: "RSV3 in a ping", code: 1002, sent: frames(frame{fin: true, rsv: 0x10, op: opPing})},
		{name: "reserved opcode 3", code: 1002, sent: frames(frame{fin: true, op: 3, payload: []byte("x")})},
		{name: "reserved opcode F", code: 1002, sent: frames(frame{fin: true, op: 0xF})},
		{name: "long ping", code: 1002, sent: frames(pingOf(strings.Repeat("p", 126)))},
		{name: "fragmented ping", code: 1002, sent: frames(part(opPing, "p"))},
		{name: "length in 16 bits for 5", code: 1002, sent: raw(rawHeader(masked, 0x81, 126, 0, 5), []byte("hello"))},
		{name: "length in 64 bits for 5", code: 1002, sent: raw(rawHeader(masked, 0x81, 127, 0, 0, 0, 0, 0, 0, 0, 5), []byte("hello"))},
		{name: "continuation of nothing", code: 1002, sent: frames(last("nothing"))},
		{name: "message within a message", code: 1002, first: head, sent: frames(begun, text("other"))},
		{name: "text that is not UTF-8", code: 1007, sent: frames(text("\xed\xa0\x80"))},
		{name: "rune that the end cuts", code: 1007, first: head, sent: frames(begun, last("\xce"))},
		{name: "close frame of one byte", code: 1002, ends: true, sent: frames(frame{fin: true, op: opClose, payload: []byte{3}})},
		{name: "close frame with 1005", code: 1002, ends: true, sent: frames(closing(1005, ""))},
		{name: "close frame with 999", code: 1002, ends: true, sent: frames(closing(999, ""))},
		{name: "reason that is not UTF-8", code: 1007, ends: true, sent: frames(closing(1000, "\xff"))},
		{name: "long close frame", code: 1002, ends: true, sent: frames(closing(1000, strings.Repeat("r", 124)))},
	}
	return all
}

// parties are the two sides of a connection, one of which offends.
type parties struct {
	offender, victim       io.Writer
	offenderIn, victimIn   *bufio.Reader
	encode, victimEncode   func(...frame) []byte
	offenderIs, direction  string
	endOffender, endVictim func()
}

// sides opens a connection, of which the client or the upstream is to offend.
func sides(t *testing.T, g *gateway, b *backend, c carrier, fromClient bool) parties {
	t.Helper()
	near, up := pair(t, g, b, c)
	_ = up.SetReadDeadline(time.Now().Add(patience))
	guard := near.guard()
	t.Cleanup(func() { guard.Stop() })
	end := func() { _ = up.Close() }
	if fromClient {
		return parties{near.w, up, near.br, up.br, client, upstreamBytes, "client", "from_client", near.kill, end}
	}
	return parties{up, near.w, up.br, near.br, upstreamBytes, client, "upstream", "from_upstream", end, near.kill}
}

func (p parties) offend(t *testing.T, b []byte) {
	t.Helper()
	if _, err := p.offender.Write(b); err != nil {
		t.Fatal(err)
	}
}

// eachOffence sends each from either side, over each carrier.
func eachOffence(t *testing.T, g *gateway, b *backend, test func(t *testing.T, p parties, o offence)) {
	t.Helper()
	for _, c := range carriers {
		for _, fromClient := range []bool{true, false} {
			for _, o := range offences(fromClient) {
				p := sides(t, g, b, c, fromClient)
				t.Run(fmt.Sprintf("%s/%s/%s", c.name, p.offenderIs, o.name), func(t *testing.T) { test(t, p, o) })
				p.endOffender()
				p.endVictim()
			}
		}
	}
}

// framesUpToClose reads all frames, and returns the close frame by itself.
func framesUpToClose(t *testing.T, br *bufio.Reader) (before []frame, closed frame) {
	t.Helper()
	for {
		f, err := readFrame(br)
		if err != nil {
			t.Fatalf("no close frame, but %v after %v", err, before)
		}
		if f.op == opClose {
			return before, f
		}
		before = append(before, f)
	}
}

// TestStrictRefusesWhatRFC6455Forbids from either side (S12): who sent it is told 1002
// or 1007, the other side, to whom nothing of it was passed, 1001.
func TestStrictRefusesWhatRFC6455Forbids(t *testing.T) {
	b := newBackend(t, handOver())
	g := start(t, "ws_gateway "+b.addr+" {\n strict\n }")
	logged := 0
	eachOffence(t, g, b, func(t *testing.T, p parties, o offence) {
		p.offend(t, join(p.encode(text("sound")), o.sent(p.encode), p.encode(text("behind"))))
		if _, f := framesUpToClose(t, p.offenderIn); f.closeCode() != o.code {
			t.Errorf("who sent it got %v (%s), want %d", f, f.payload[2:], o.code)
		}
		before, f := framesUpToClose(t, p.victimIn)
		if f.closeCode() != 1001 {
			t.Errorf("the other side got %v, want 1001", f)
		}
		if want := 1 + min(o.first, 1); len(before) != want || string(before[0].payload) != "sound" {
			t.Errorf("the other side got %v before", before)
		}
		if _, err := p.victim.Write(p.victimEncode(closing(1001, ""))); err != nil {
			t.Error(err)
		}
		p.endOffender()
		logged++
		line := book.waitClosed(t, b.addr, logged)
		if line.str("by") != "gateway" || line.num("code") != float64(o.code) || !strings.HasPrefix(line.str("reason"), p.offenderIs+": ") {
			t.Errorf("logged: %s", line.raw)
		}
	})
	g.assertNoLiveSeries(t)
}

// TestWhatRFC6455ForbidsPassesByDefault unchanged, as through a tunnel.
func TestWhatRFC6455ForbidsPassesByDefault(t *testing.T) {
	b := newBackend(t, handOver())
	g := start(t, "ws_gateway "+b.addr)
	eachOffence(t, g, b, func(t *testing.T, p parties, o offence) {
		sent := join(p.encode(text("sound")), o.sent(p.encode))
		if !o.ends {
			sent = append(sent, p.encode(text("behind"))...)
		}
		p.offend(t, sent)
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(p.victimIn, got); err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("the other side got %x, %v; want %x", got, err, sent)
		}
		if _, err := p.victim.Write(p.victimEncode(text("still here"))); err != nil {
			t.Error(err)
		}
		if f, err := readFrame(p.offenderIn); err != nil || string(f.payload) != "still here" {
			t.Errorf("afterwards came %v, %v", f, err)
		}
	})
}

// TestEndlessLengthEndsAConnection however it is configured: nobody can tell what comes
// after it (S15).
func TestEndlessLengthEndsAConnection(t *testing.T) {
	b := newBackend(t, handOver())
	for _, options := range []string{"", "strict", "limit {\n message_size 1MiB\n }"} {
		g := start(t, "ws_gateway "+b.addr+" {\n "+options+"\n }")
		for _, c := range carriers {
			for _, fromClient := range []bool{true, false} {
				for _, length := range []uint64{1 << 63, 1<<64 - 1} {
					p := sides(t, g, b, c, fromClient)
					t.Run(fmt.Sprintf("%s/%s/%s/%x", options, c.name, p.offenderIs, length), func(t *testing.T) {
						header := rawHeader(fromClient, 0x82, 127, binary.BigEndian.AppendUint64(nil, length)...)
						p.offend(t, join(p.encode(text("sound")), header, make([]byte, 1000)))
						if _, f := framesUpToClose(t, p.offenderIn); f.closeCode() != 1002 {
							t.Errorf("who sent it got %v, want 1002", f)
						}
						if before, f := framesUpToClose(t, p.victimIn); f.closeCode() != 1001 || len(before) != 1 {
							t.Errorf("the other side got %v and %v, want the sound message and 1001", before, f)
						}
					})
					p.endOffender()
					p.endVictim()
				}
			}
		}
		g.assertNoLiveSeries(t)
	}
}

// TestFloodsOfSmallFramesEndAConnection without any configuration (S15).
func TestFloodsOfSmallFramesEndAConnection(t *testing.T) {
	long(t)
	b := newBackend(t, handOver())
	g := start(t, "ws_gateway "+b.addr)
	logged := 0
	for _, row := range []struct {
		name, limit  string
		first, flood frame
		many         int
	}{
		{"a million empty fragments", "fragments", part(opText, ""), part(opContinuation, ""), 1_000_000},
		{"a hundred thousand pings", "control_frames", text(""), pingOf("p"), 100_000},
		{"a hundred thousand pongs", "control_frames", text(""), pongOf("p"), 100_000},
	} {
		for _, c := range carriers {
			for _, fromClient := range []bool{true, false} {
				p := sides(t, g, b, c, fromClient)
				t.Run(fmt.Sprintf("%s/%s/%s", row.name, c.name, p.offenderIs), func(t *testing.T) {
					var flooding sync.WaitGroup
					defer flooding.Wait()
					defer p.endOffender()
					flooding.Go(func() {
						_, _ = p.offender.Write(p.encode(row.first))
						piece := bytes.Repeat(p.encode(row.flood), 1000)
						for range row.many / 1000 {
							if _, err := p.offender.Write(piece); err != nil {
								return
							}
						}
					})
					flooding.Go(func() {
						defer p.endVictim()
						before, f := framesUpToClose(t, p.victimIn)
						if f.closeCode() != 1001 || len(before) > row.many*9/10 {
							t.Errorf("the other side got %d frames and %v, want 1001 far earlier", len(before), f)
						}
					})
					if _, f := framesUpToClose(t, p.offenderIn); f.closeCode() != 1008 {
						t.Errorf("who sent it got %v, want 1008", f)
					}
					p.endOffender()
					logged++
					if line := book.waitClosed(t, b.addr, logged); line.str("limit") != row.limit || line.str("by") != "gateway" || line.num("code") != 1008 {
						t.Errorf("logged: %s", line.raw)
					}
				})
			}
		}
	}
	g.assertNoLiveSeries(t)
}

// TestSizeOfAMessageIsThatOfItsFragmentsTogether and is refused before the bytes that
// are too many have passed.
func TestSizeOfAMessageIsThatOfItsFragmentsTogether(t *testing.T) {
	b := newBackend(t, handOver())
	g := start(t, "ws_gateway "+b.addr+" {\n limit {\n message_size 1000B\n }\n }")
	logged := 0
	for _, row := range []struct {
		name   string
		sent   []frame
		passes int
	}{
		{"in one", []frame{binaryOf(1001)}, 0},
		{"in two", []frame{part(opText, strings.Repeat("a", 600)), part(opContinuation, strings.Repeat("a", 401))}, 1},
		{"a byte too many", []frame{part(opText, strings.Repeat("a", 1000)), pingOf("between"), last("a")}, 2},
		{"after one that is not", []frame{binaryOf(1000), part(opText, ""), last(strings.Repeat("a", 1001))}, 2},
	} {
		for _, c := range carriers {
			for _, fromClient := range []bool{true, false} {
				p := sides(t, g, b, c, fromClient)
				t.Run(fmt.Sprintf("%s/%s/%s", row.name, c.name, p.offenderIs), func(t *testing.T) {
					p.offend(t, p.encode(row.sent...))
					if _, f := framesUpToClose(t, p.offenderIn); f.closeCode() != 1009 {
						t.Errorf("who sent it got %v, want 1009", f)
					}
					if before, f := framesUpToClose(t, p.victimIn); f.closeCode() != 1001 || len(before) != row.passes {
						t.Errorf("the other side got %v and %v, want %d frames and 1001", before, f, row.passes)
					}
					p.endOffender()
					p.endVictim()
					logged++
					if line := book.waitClosed(t, b.addr, logged); line.str("limit") != "message_size" || line.num("code") != 1009 {
						t.Errorf("logged: %s", line.raw)
					}
				})
			}
		}
	}
}
