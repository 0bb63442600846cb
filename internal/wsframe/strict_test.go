package wsframe

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// notOfCoder are the violations that github.com/coder/websocket lets pass. It is lenient
// on purpose about the first two, and leaves the others to who reads the messages.
var notOfCoder = map[Violation]bool{
	{protocolError, "payload length not in the fewest bytes"}: true,
	{protocolError, "masked frame from a server"}:             true, // and does not unmask the message
	TextNotUTF8: true,
	{invalidPayload, "reason of a close frame is not UTF-8"}: true,
}

// checkStrict compares what is made of a stream with what a naive reader makes of it, and
// with github.com/coder/websocket. It agrees about all messages before the first
// violation, and on whether there is one, except for notOfCoder; and for compressed
// messages, because it has to inflate them, and refuses the stream if it cannot.
func checkStrict(t *testing.T, stream, cuts []byte, masked, deflate bool) {
	t.Helper()
	reserved := byte(0)
	if deflate {
		reserved = Deflate
	}
	ours := judgeInPieces(t, stream, cuts, masked, reserved)
	messages, code := judgeNaively(stream, masked, deflate)
	if !slices.Equal(ours.messages, messages) || ours.violation.Code != code {
		t.Errorf("messages %q and violation %+v, naively %q and %d", ours.messages, ours.violation, messages, code)
	}

	theirs, refused := readByCoder(t, stream, cuts, masked, deflate)
	agreed := len(ours.messages)
	partly := notOfCoder[ours.violation]
	if ours.compressed >= 0 {
		agreed, partly = ours.compressed, true
	}
	if len(theirs.messages) < agreed || !slices.Equal(theirs.messages[:agreed], ours.messages[:agreed]) {
		t.Errorf("messages %q, by coder %q", ours.messages, theirs.messages)
	}
	switch {
	case partly:
	case len(theirs.messages) != agreed:
		t.Errorf("messages %q, by coder %q", ours.messages, theirs.messages)
	case refused && ours.cut: // coder does not wait for the rest of a header that is wrong
	case refused != ours.violation.Found():
		t.Errorf("violation %+v, refused by coder: %v", ours.violation, refused)
	case theirs.closed != ours.closed || theirs.code != ours.code || theirs.reason != ours.reason:
		t.Errorf("close frame %v %d %q, by coder %v %d %q",
			ours.closed, ours.code, ours.reason, theirs.closed, theirs.code, theirs.reason)
	}
}

// contents are payloads that something is in.
var contents = []string{
	"", "hello", "grüße", "\xe2\x82", "\xac", "€", "\xff", "\xed\xa0", "\x03\xe8", "\x03\xe8bye", "\x03\xed", "\x03\xf6", "\x0f\xa0\xff",
	"\x13\x88", "\x03", "\xf2\x48\xcd\xc9\xc9\x07\x00", "twenty bytes of ASCII", string(bytes.Repeat([]byte("ж"), 62)),
	string(bytes.Repeat([]byte{'x'}, 126)), string(bytes.Repeat([]byte("日本"), 100)),
}

// follow appends the frames that a recipe asks for, two bytes for each: the first byte of
// the frame, and what it carries. Most of them are as they should be.
func follow(stream, recipe []byte, masked bool) []byte {
	for ; len(recipe) >= 2; recipe = recipe[2:] {
		first, what := recipe[0], recipe[1]
		key := []byte(nil)
		if masked != (what == 0xFF) {
			key = testKey
		}
		payload := contents[int(what)%len(contents)]
		at := len(stream)
		if what == 0xFE {
			stream = append(stream, first, 0x80|length16, 0, 0, 1, 2, 3, 4) // more than it takes
			continue
		}
		stream = appendFrame(stream, Opcode(first), first >= 0x80, key, []byte(payload))
		stream[at] = first
	}
	return stream
}

// randomRecipe is for frames in the right order mostly, one in ten of which may be wrong.
func randomRecipe(rng *rand.Rand, frames int) (recipe []byte) {
	inside := false
	for range frames {
		first := []byte{0x81, 0x82, 0x01, 0x02, 0x89, 0x8A}[rng.IntN(6)]
		if inside && first&8 == 0 {
			first &= 0xF0
		}
		if first&8 == 0 {
			inside = first < 0x80
		}
		what := []byte{0, 1, 2, 3, 4, 5, 16, 17, 19}[rng.IntN(9)]
		switch rng.IntN(40) {
		case 0:
			first = byte(rng.IntN(256))
		case 1:
			what = byte(rng.IntN(256))
		case 2:
			first, what = 0x88, 8+byte(rng.IntN(8))
		}
		recipe = append(recipe, first, what)
	}
	return recipe
}

func TestStrictReaderAgreesWithOthers(t *testing.T) {
	t.Parallel()
	refused, closed, clean := 0, 0, 0
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 7))
		masked, deflate := seed%2 == 0, seed%4 < 2
		stream := follow(nil, randomRecipe(rng, 12), masked)
		cuts := binary.BigEndian.AppendUint64(nil, rng.Uint64()&0x1F1F_1F1F_1F1F_1F1F)
		checkStrict(t, stream, cuts, masked, deflate)
		switch v := judgeInPieces(t, stream, cuts, masked, Deflate); {
		case v.violation.Found():
			refused++
		case v.closed:
			closed++
		default:
			clean++
		}
		if t.Failed() {
			t.Fatalf("seed %d, stream %x", seed, stream)
		}
	}
	if min(refused, closed, clean) < 50 {
		t.Errorf("%d streams were refused, %d closed and %d neither: too few of one kind to show anything", refused, closed, clean)
	}
}

func FuzzFramesHoweverTheStreamIsCut(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(randomStream(rand.New(rand.NewPCG(seed, 4)), 4), []byte{1, 0, 3, 200})
	}
	f.Add([]byte{0x88, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5}, []byte{1, 1, 1, 1, 1})
	f.Add([]byte{0x88, 0x80, 1, 2, 3, 4, 0x88, 2, 3, 0xe8}, []byte{1, 4})
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		before := bytes.Clone(stream)
		checkViews(t, stream, cuts)
		if !bytes.Equal(stream, before) {
			t.Error("reading changed the stream")
		}
	})
}

func FuzzStrictReader(f *testing.F) {
	for seed := range uint64(16) {
		rng := rand.New(rand.NewPCG(seed, 6))
		f.Add(randomRecipe(rng, 8), []byte{0x81, 0x85, 1, 2, 3}, []byte{1, 0, 3, 30}, seed%2 == 0, seed%4 < 2)
	}
	f.Fuzz(func(t *testing.T, recipe, tail, cuts []byte, masked, deflate bool) {
		stream := append(follow(nil, recipe, masked), tail...)
		checkStrict(t, stream, cuts, masked, deflate)
	})
}
