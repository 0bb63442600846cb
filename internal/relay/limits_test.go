package relay

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// ways are the ways to relay, each of which has to hold to the rules.
var ways = map[string]func(testing.TB, Config) *fixture{
	"on goroutines": func(tb testing.TB, c Config) *fixture {
		f := onTCP(tb, c)
		f.runOnGoroutines()
		return f
	},
	"tcp": func(tb testing.TB, c Config) *fixture {
		f := onTCP(tb, c)
		f.run()
		return f
	},
	"tls": func(tb testing.TB, c Config) *fixture {
		f := onTLS(tb, c)
		f.run()
		return f
	},
}

// header returns the header of a frame, masked with zeros.
func header(first byte, masked bool, size uint64) []byte {
	var mask byte
	if masked {
		mask = 0x80
	}
	h := binary.BigEndian.AppendUint64([]byte{first, mask | 127}, size)
	if masked {
		h = append(h, 0, 0, 0, 0)
	}
	return h
}

// part returns a frame that is not the last of its message, or the last one.
func part(op wsframe.Opcode, masked, final bool, payload string) []byte {
	f := frame(op, masked, []byte(payload))
	if !final {
		f[0] &^= 0x80
	}
	return f
}

type breachTest struct {
	policy   Policy
	reserved byte
	passes   []byte // is passed on first
	breaks   []byte // is not
	code     int
	reason   string
	limit    string
}

// breaches are what a side may not send; each function makes what one sends that is
// masked or not.
func breaches(masked bool) map[string]breachTest {
	const text, binary, more = wsframe.Text, wsframe.Binary, wsframe.Continuation
	strict := Policy{Strict: true}
	many := bytes.Repeat(part(more, masked, false, ""), maxSmallFragments)
	wrongMask := "unmasked frame from a client"
	if !masked {
		wrongMask = "masked frame from a server"
	}
	return map[string]breachTest{
		"a length with its topmost bit": {
			passes: frame(text, masked, []byte("a")), breaks: header(0x82, masked, 1<<63),
			code: 1002, reason: wsframe.LengthOverflow.Reason,
		},
		"more pings than anyone needs": {
			passes: bytes.Repeat(frame(wsframe.Ping, masked, nil), 2000), breaks: bytes.Repeat(frame(wsframe.Ping, masked, nil), 3000),
			code: 1008, reason: tooManyControls.reason, limit: LimitControlFrames,
		},
		"more small fragments than anyone needs": {
			passes: append(part(text, masked, false, ""), many...), breaks: part(more, masked, false, ""),
			code: 1008, reason: tooManyParts.reason, limit: LimitFragments,
		},
		"a message too big": {
			policy: Policy{MessageSize: 10},
			passes: frame(binary, masked, make([]byte, 10)), breaks: frame(binary, masked, make([]byte, 11)),
			code: 1009, reason: tooBig.reason, limit: LimitMessageSize,
		},
		"an announcement of a message too big": {
			policy: Policy{MessageSize: 1 << 20}, breaks: header(0x82, masked, 1<<40),
			code: 1009, reason: tooBig.reason, limit: LimitMessageSize,
		},
		"fragments too big together": {
			policy: Policy{MessageSize: 10},
			passes: slices.Concat(frame(text, masked, make([]byte, 10)), part(binary, masked, false, "0123456"), frame(wsframe.Ping, masked, []byte("1234567"))),
			breaks: part(more, masked, true, "7890"),
			code:   1009, reason: tooBig.reason, limit: LimitMessageSize,
		},
		"fragments whose sum overflows": {
			policy: Policy{MessageSize: 1 << 62}, breaks: slices.Concat(part(text, masked, false, ""), header(0, masked, 1<<63-1)),
			passes: nil, code: 1009, reason: tooBig.reason, limit: LimitMessageSize,
		},
		"the wrong mask": {
			policy: strict, passes: frame(text, masked, []byte("a")), breaks: frame(text, !masked, []byte("b")),
			code: 1002, reason: wrongMask,
		},
		"a reserved bit": {
			policy: strict, breaks: []byte{0xC1, frame(text, masked, nil)[1], 0, 0, 0, 0}, code: 1002,
			reason: "reserved bit that no negotiated extension uses",
		},
		"a text that is not UTF-8": {
			policy: strict, passes: frame(text, masked, []byte("é")), breaks: frame(text, masked, []byte("a\xff")),
			code: 1007, reason: notUTF8.reason,
		},
		"a text that ends within a character": {
			policy: strict, passes: part(text, masked, false, "a\xe2\x82"), breaks: part(more, masked, true, ""),
			code: 1007, reason: notUTF8.reason,
		},
		"a close frame of one byte": {
			policy: strict, breaks: frame(wsframe.Close, masked, []byte{3}), code: 1002,
			reason: "close frame with half a status code",
		},
	}
}

func TestBreachEndsTheConnection(t *testing.T) {
	t.Parallel()
	for _, by := range []Party{Client, Upstream} {
		for name, tt := range breaches(by == Client) {
			for way, start := range ways {
				t.Run(fmt.Sprintf("%s/%v/%s", name, by, way), func(t *testing.T) {
					t.Parallel()
					policy := tt.policy
					f := start(t, Config{Policy: &policy, ReservedBits: tt.reserved, CloseTimeout: 200 * time.Millisecond})
					offender, other := f.client, f.upstream
					if by == Upstream {
						offender, other = other, offender
					}
					toOther := record(other)
					mustWrite(t, offender, append(slices.Clone(tt.passes), tt.breaks...))
					reason := by.String() + ": " + tt.reason
					toOffender := record(offender)
					o := f.end(t)
					wantEnd(t, o, Gateway, tt.code, reason)
					if o.Limit != tt.limit {
						t.Errorf("limit %q, want %q", o.Limit, tt.limit)
					}
					_, c := closeOf(t, take(t, "the offender's stream", toOffender).data)
					if c != (Close{tt.code, reason}) {
						t.Errorf("the offender got %+v, want %d %q", c, tt.code, reason)
					}
					passed, c := closeOf(t, take(t, "the other's stream", toOther).data)
					if want := (Close{1001, reason}); c != want {
						t.Errorf("the other side got %+v, want %+v", c, want)
					}
					if !bytes.HasPrefix(passed, tt.passes) {
						t.Errorf("%d bytes were passed on, want at least the first %d that may", len(passed), len(tt.passes))
					}
					if tt.limit != LimitControlFrames && name != "fragments whose sum overflows" && len(passed) != len(tt.passes) {
						t.Errorf("%d bytes were passed on, want %d", len(passed), len(tt.passes))
					}
				})
			}
		}
	}
}

// TestInvalidTextWithinAFrame has a frame break the rules after its beginning has been
// passed on: no close frame can follow that.
func TestInvalidTextWithinAFrame(t *testing.T) {
	t.Parallel()
	for way, start := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			f := start(t, Config{Policy: &Policy{Strict: true}})
			begin := slices.Concat([]byte{0x81, 0x80 | 20, 1, 2, 3, 4}, []byte{'a' ^ 1, 'b' ^ 2, 'c' ^ 3, 'd' ^ 4, 'e' ^ 1})
			mustWrite(t, f.client, begin)
			mustRead(t, f.upstream, begin)
			mustWrite(t, f.client, []byte{'f' ^ 2, 0xC3 ^ 3, 'h' ^ 4})
			mustReadClose(t, f.client, Close{1007, "client: " + notUTF8.reason})
			f.client.Close()
			wantEnd(t, f.end(t), Gateway, 1007, "client: "+notUTF8.reason)
			if got := take(t, "the end", record(f.upstream)).data; len(got) > 0 {
				t.Errorf("the upstream got %q as well", got)
			}
		})
	}
}

// TestHeadersAreJudgedAsAWhole sends frames byte by byte.
func TestHeadersAreJudgedAsAWhole(t *testing.T) {
	t.Parallel()
	stream := slices.Concat(maskedText("hello"), frame(wsframe.Ping, true, nil), frame(wsframe.Binary, true, make([]byte, 300)), maskedClose(1000, "bye"))
	for way, start := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			f := start(t, Config{Policy: &Policy{Strict: true, MessageSize: 300}})
			got := record(f.upstream)
			for i := range stream {
				mustWrite(t, f.client, stream[i:i+1])
			}
			mustWrite(t, f.upstream, closeFrame(1000, ""))
			f.end(t)
			if data := take(t, "the upstream's stream", got).data; !bytes.Equal(data, stream) {
				t.Errorf("the upstream got %x, want %x", data, stream)
			}
		})
	}
}

// TestBeginningOfAHeaderIsNotPassedOn lets a client go within a header: the upstream can
// be told.
func TestBeginningOfAHeaderIsNotPassedOn(t *testing.T) {
	t.Parallel()
	for way, start := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			f := start(t, Config{})
			mustWrite(t, f.client, append(maskedText("hello"), 0x82, 0xFF, 0, 0))
			mustRead(t, f.upstream, maskedText("hello"))
			f.client.Close()
			mustReadClose(t, f.upstream, Close{1011, "client vanished"})
			wantEOF(t, f.upstream)
		})
	}
}

func TestRatesMakeTheClientWait(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		policy Policy
		frames [][]byte
		at     []time.Duration // when each of the frames is to pass
		limit  string
	}{
		"messages": {
			Policy{Messages: Rate{Count: 2, Per: time.Second, Burst: 3}},
			[][]byte{maskedText("1"), maskedText("2"), maskedText("3"), maskedText("4"), maskedText("5"), maskedText("6")},
			[]time.Duration{0, 0, 0, 500 * time.Millisecond, time.Second, 1500 * time.Millisecond},
			LimitMessages,
		},
		"fragments are one message": {
			Policy{Messages: Rate{Count: 1, Per: time.Second, Burst: 1}},
			[][]byte{part(1, true, false, "1"), part(0, true, false, "2"), part(0, true, true, "3"), maskedText("4")},
			[]time.Duration{0, 0, 0, time.Second},
			LimitMessages,
		},
		"control frames are none": {
			Policy{Messages: Rate{Count: 1, Per: time.Hour, Burst: 1}, Bytes: Rate{Count: 1, Per: time.Hour, Burst: 1}},
			[][]byte{maskedText("1"), frame(wsframe.Ping, true, make([]byte, 100)), frame(wsframe.Pong, true, nil)},
			[]time.Duration{0, 0, 0},
			"",
		},
		"bytes": {
			Policy{Bytes: Rate{Count: 10, Per: time.Second, Burst: 20}},
			[][]byte{maskedText("0123456789"), maskedText("0123456789"), maskedText("0123456789"), maskedText("01234")},
			[]time.Duration{0, 0, time.Second, 1500 * time.Millisecond},
			LimitBytes,
		},
		"a frame larger than a burst": {
			Policy{Bytes: Rate{Count: 10_000, Per: time.Second, Burst: 10_000}},
			[][]byte{frame(2, true, make([]byte, 40_000)), maskedText("0123456789")},
			[]time.Duration{3 * time.Second, 3*time.Second + time.Millisecond},
			LimitBytes,
		},
		"both": {
			Policy{Messages: Rate{Count: 1, Per: time.Second, Burst: 1}, Bytes: Rate{Count: 5, Per: time.Second, Burst: 10}},
			[][]byte{maskedText("0123456789"), maskedText("0123456789")},
			[]time.Duration{0, 2 * time.Second},
			LimitMessages,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				slowed := make(map[string]int)
				tt.policy.Slowed = func(limit string) { slowed[limit]++ }
				f := onPipes(Config{Policy: &tt.policy})
				f.run()
				begin := time.Now()
				all := slices.Concat(append(slices.Clone(tt.frames), maskedClose(1000, ""))...)
				go func() { _, _ = f.client.Write(all) }()
				for i, want := range tt.frames {
					mustRead(t, f.upstream, want)
					if at := time.Since(begin); at < tt.at[i] || at > tt.at[i]+5*time.Millisecond {
						t.Errorf("frame %d passed after %v, want %v", i, at, tt.at[i])
					}
				}
				mustRead(t, f.upstream, maskedClose(1000, "")[:2])
				if tt.limit != "" && slowed[tt.limit] == 0 || tt.limit == "" && len(slowed) > 0 {
					t.Errorf("held back by %v, want %q", slowed, tt.limit)
				}
				f.client.Close()
				f.upstream.Close()
				f.end(t)
			})
		})
	}
}

// TestNothingIsLostToARate sends much more than a burst at once, in either way to relay.
func TestNothingIsLostToARate(t *testing.T) {
	t.Parallel()
	var stream []byte
	for i := range 3000 {
		stream = append(stream, frame(wsframe.Binary, true, bytes.Repeat([]byte{byte(i)}, i%700))...)
	}
	for way, start := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			var waits atomic.Int32
			f := start(t, Config{Policy: &Policy{
				Messages: Rate{Count: 10_000, Per: time.Second, Burst: 10},
				Bytes:    Rate{Count: 3_000_000, Per: time.Second, Burst: 600},
				Slowed:   func(string) { waits.Add(1) },
			}})
			go func() { _, _ = f.client.Write(append(slices.Clone(stream), maskedClose(1000, "")...)) }()
			mustRead(t, f.upstream, stream)
			mustWrite(t, f.upstream, closeFrame(1000, ""))
			o := f.end(t)
			if o.FromClient.Messages != 3000 || o.By != Client || o.Limit != "" {
				t.Errorf("ended as %+v", o)
			}
			if waits.Load() == 0 {
				t.Error("the client was not held back")
			}
		})
	}
}

func TestRatesThatClose(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		policy Policy
		passes []byte
		breaks []byte
		what   *violation
	}{
		"messages": {
			Policy{Messages: Rate{Count: 1, Per: time.Hour, Burst: 2, Close: true}},
			slices.Concat(maskedText("1"), maskedText("2")), maskedText("3"), tooManyMessages,
		},
		"bytes": {
			Policy{Bytes: Rate{Count: 1, Per: time.Hour, Burst: 10, Close: true}},
			maskedText("01234567"), maskedText("012"), tooManyBytes,
		},
		"a frame larger than a burst": {
			Policy{Bytes: Rate{Count: 1, Per: time.Hour, Burst: 10, Close: true}},
			nil, maskedText("0123456789a"), tooManyBytes,
		},
	}
	for name, tt := range tests {
		for way, start := range ways {
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				f := start(t, Config{Policy: &tt.policy})
				mustWrite(t, f.client, append(slices.Clone(tt.passes), tt.breaks...))
				reason := "client: " + tt.what.reason
				mustReadClose(t, f.client, Close{1008, reason})
				mustRead(t, f.upstream, tt.passes)
				mustReadClose(t, f.upstream, Close{1001, reason})
				mustWrite(t, f.upstream, closeFrame(1001, ""))
				mustWrite(t, f.client, maskedClose(1008, ""))
				o := f.end(t)
				wantEnd(t, o, Gateway, 1008, reason)
				if o.Limit != tt.what.limit {
					t.Errorf("limit %q, want %q", o.Limit, tt.what.limit)
				}
			})
		}
	}
}

// TestRateHoldsNobodyBackAtTheEnd ends connections whose client is held back.
func TestRateHoldsNobodyBackAtTheEnd(t *testing.T) {
	t.Parallel()
	for way, start := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			held := make(chan string, 10)
			f := start(t, Config{Policy: &Policy{
				Messages: Rate{Count: 1, Per: time.Hour, Burst: 1},
				Slowed:   func(limit string) { held <- limit },
			}})
			mustWrite(t, f.client, slices.Concat(maskedText("1"), maskedText("2"), maskedClose(1000, "bye")))
			take(t, "the client to be held back", held)
			mustWrite(t, f.upstream, closeFrame(1000, "me too"))
			rest := take(t, "the upstream's stream", record(f.upstream)).data
			if want := slices.Concat(maskedText("1"), maskedText("2"), maskedClose(1000, "bye")); len(rest) != len(want) {
				t.Errorf("the upstream got %q, want %q", rest, want)
			}
			mustReadClose(t, f.client, Close{1000, "me too"})
			wantEnd(t, f.end(t), Upstream, 1000, "me too")
		})
	}
}

func TestClientHeldBackCostsNothingElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := onPipes(Config{Policy: &Policy{Messages: Rate{Count: 1, Per: time.Hour, Burst: 1}, IdleTimeout: time.Minute}})
		f.run()
		go func() { _, _ = f.client.Write(slices.Concat(maskedText("1"), maskedText("2"))) }()
		mustRead(t, f.upstream, maskedText("1"))
		bubble.Elapse(30 * time.Minute) // it is not idle
		mustWriteAsync(t, f.upstream, text("hello"), f.client)
		mustRead(t, f.upstream, maskedText("2"))
		f.client.Close()
		f.upstream.Close()
		f.end(t)
	})
}

// TestRateHoldsWithASmallBurst has each message wait for a deadline of its own.
func TestRateHoldsWithASmallBurst(t *testing.T) {
	t.Parallel()
	for way, start := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			f := start(t, Config{Policy: &Policy{Messages: Rate{Count: 1000, Per: time.Second, Burst: 1}}})
			var stream []byte
			for range 1000 {
				stream = append(stream, maskedText("hello")...)
			}
			begin := time.Now()
			mustWrite(t, f.client, stream)
			mustRead(t, f.upstream, stream)
			if took := time.Since(begin); took < 900*time.Millisecond {
				t.Errorf("1000 messages passed in %v, at 1000 a second", took)
			}
			leave(f)
			f.end(t)
		})
	}
}
