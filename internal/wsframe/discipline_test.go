package wsframe

import (
	"strings"
	"testing"
	"unsafe"
)

// judgeAll returns what the first violation in a stream of whole frames is, and how many
// frames came before.
func judgeAll(t *testing.T, stream []byte, masked bool, reserved byte) (v Violation, before int) {
	t.Helper()
	var d Discipline
	for len(stream) > 0 {
		h, complete := ParseHeader(stream)
		if !complete {
			t.Fatal("the stream is cut")
		}
		if v := d.Judge(h, masked, reserved); v.Found() {
			return v, before
		}
		before++
		stream = stream[h.Size+int(h.Length):]
	}
	return Violation{}, before
}

// sent returns empty frames whose first bytes are given.
func sent(firsts ...byte) (stream []byte) {
	for _, first := range firsts {
		stream = append(stream, first, 0)
	}
	return stream
}

func TestDisciplineJudgesFrames(t *testing.T) {
	t.Parallel()
	long := make([]byte, 126)
	tests := map[string]struct {
		stream []byte
		want   string // a part of the reason, or none
		before int    // frames that pass
	}{
		"all kinds":                      {sent(0x81, 0x82, 0x89, 0x8A, 0x88), "", 5},
		"fragments":                      {sent(0x01, 0x00, 0x00, 0x80, 0x82), "", 5},
		"control frames among fragments": {sent(0x01, 0x89, 0x8A, 0x80, 0x89), "", 5},
		"close inside a message":         {sent(0x01, 0x88), "", 2},
		"opcode 3":                       {sent(0x81, 0x83), "reserved opcode", 1},
		"opcode 7, a fragment":           {sent(0x07), "reserved opcode", 0},
		"opcode 11":                      {sent(0x8B), "reserved opcode", 0},
		"opcode 15":                      {sent(0x8F), "reserved opcode", 0},
		"125 bytes of ping":              {appendFrame(nil, Ping, final, nil, long[:125]), "", 1},
		"126 bytes of ping":              {appendFrame(nil, Ping, final, nil, long), "more than 125", 0},
		"126 bytes of close":             {appendFrame(nil, Close, final, nil, long), "more than 125", 0},
		"fragmented ping":                {sent(0x09, 0x80), "fragmented control frame", 0},
		"fragmented close":               {sent(0x08), "fragmented control frame", 0},
		"16 bits for 125":                {append([]byte{0x82, 126, 0, 125}, long[:125]...), "fewest bytes", 0},
		"64 bits for 1":                  {[]byte{0x82, 127, 0, 0, 0, 0, 0, 0, 0, 1, 'x'}, "fewest bytes", 0},
		"topmost bit":                    {[]byte{0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0}, "most significant bit", 0},
		"topmost bit of a reserved one":  {[]byte{0x83, 127, 0x80, 0, 0, 0, 0, 0, 0, 0}, "most significant bit", 0},
		"continuation first":             {sent(0x80), "without a message", 0},
		"continuation of a whole":        {sent(0x81, 0x00), "without a message", 1},
		"continuation of a finished":     {sent(0x02, 0x80, 0x80), "without a message", 2},
		"text inside a binary":           {sent(0x02, 0x81), "inside a fragmented", 1},
		"binary inside, after a ping":    {sent(0x02, 0x00, 0x89, 0x02), "inside a fragmented", 3},
		"masked":                         {appendFrame(nil, Text, final, testKey, nil), "masked frame from a server", 0},
		"ping after a close":             {sent(0x88, 0x89), "after a close", 1},
		"nonsense after a close":         {sent(0x88, 0xFF), "after a close", 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, before := judgeAll(t, tt.stream, false, 0)
			checkReason(t, v, tt.want)
			if before != tt.before {
				t.Errorf("%d frames passed, want %d", before, tt.before)
			}
		})
	}
}

// checkReason wants a violation whose reason contains a text, or none if that is empty.
func checkReason(t *testing.T, v Violation, want string) {
	t.Helper()
	switch {
	case want == "" && v != Violation{}:
		t.Errorf("violation %+v, want none", v)
	case want != "" && (v.Code != 1002 || !strings.Contains(v.Reason, want)):
		t.Errorf("violation %+v, want 1002 and %q", v, want)
	case len(v.Reason) > maxReason:
		t.Errorf("reason %q does not fit into a close frame", v.Reason)
	}
}

func TestDisciplineWantsMasksFromClients(t *testing.T) {
	t.Parallel()
	masked := appendFrame(nil, Text, final, testKey, []byte("x"))
	v, _ := judgeAll(t, masked, true, 0)
	checkReason(t, v, "")
	v, _ = judgeAll(t, appendFrame(nil, Text, final, nil, []byte("x")), true, 0)
	checkReason(t, v, "unmasked frame from a client")
	v, _ = judgeAll(t, appendFrame(masked, Ping, final, nil, nil), true, 0)
	checkReason(t, v, "unmasked frame from a client")
}

func TestDisciplineJudgesReservedBits(t *testing.T) {
	t.Parallel()
	const unused, misplaced = "no negotiated extension", "RSV1"
	tests := map[string]struct {
		reserved byte
		stream   []byte
		want     string
	}{
		"RSV1, none negotiated":          {0, sent(0xC1), unused},
		"RSV3 of a ping":                 {0, sent(0x99), unused},
		"RSV1 of a continuation":         {0, sent(0x01, 0xC0), unused},
		"compressed":                     {Deflate, sent(0xC1, 0xC2, 0x81), ""},
		"compressed in fragments":        {Deflate, sent(0x41, 0x00, 0x89, 0x80), ""},
		"RSV1 of a later fragment":       {Deflate, sent(0x41, 0x40), misplaced},
		"RSV1 of the last fragment":      {Deflate, sent(0x01, 0xC0), misplaced},
		"RSV1 of a ping":                 {Deflate, sent(0xC9), misplaced},
		"RSV1 of a close":                {Deflate, sent(0xC8), misplaced},
		"RSV2 beside compression":        {Deflate, sent(0xE1), unused},
		"RSV2 of an extension":           {Deflate | 0x20, sent(0xE1, 0xA9, 0x21, 0xA0), ""},
		"RSV3 beside it":                 {Deflate | 0x20, sent(0xB1), unused},
		"RSV1 beside it":                 {Deflate | 0x20, sent(0xC9), misplaced},
		"unknown extension":              {UnknownExtension, sent(0xF1, 0xC9, 0x41, 0xF0, 0x81), ""},
		"unknown extension, compression": {UnknownExtension | Deflate, sent(0x41, 0xC0), ""},
		"unknown extension, opcode":      {UnknownExtension, sent(0xF3), "reserved opcode"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, _ := judgeAll(t, tt.stream, false, tt.reserved)
			checkReason(t, v, tt.want)
		})
	}
}

func TestDisciplineKnowsWhatIsText(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reserved byte
		stream   []byte
		want     string // a letter for each frame: t for text
	}{
		"whole":               {0, sent(0x81, 0x82, 0x81), "t-t"},
		"fragments":           {0, sent(0x01, 0x00, 0x80, 0x02, 0x80), "ttt--"},
		"control frames":      {0, sent(0x89, 0x01, 0x89, 0x00, 0x8A, 0x80, 0x88), "-t-t-t-"},
		"compressed":          {Deflate, sent(0xC1, 0x81, 0x41, 0x00, 0x89, 0x80), "-t----"},
		"with an extension":   {0x20, sent(0xA1, 0x81), "-t"},
		"unknown extension":   {UnknownExtension, sent(0x81, 0x01, 0x80), "---"},
		"all bits, but known": {0x70, sent(0x81, 0xB1), "t-"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var d Discipline
			got := ""
			for stream := tt.stream; len(stream) > 0; stream = stream[2:] {
				h, _ := ParseHeader(stream)
				checkReason(t, d.Judge(h, false, tt.reserved), "")
				if d.Closed() != (h.Opcode == Close) {
					t.Errorf("Closed() = %v after opcode %#x", d.Closed(), h.Opcode)
				}
				if d.MustBeUTF8() {
					got += "t"
				} else {
					got += "-"
				}
			}
			if got != tt.want {
				t.Errorf("text: %q, want %q", got, tt.want)
			}
		})
	}
}

func TestDisciplineStaysSmall(t *testing.T) {
	t.Parallel()
	if size := unsafe.Sizeof(Discipline{}) + unsafe.Sizeof(UTF8{}); size > 8 {
		t.Errorf("Discipline and UTF8 take %d bytes, of which every connection has two; want at most 8", size)
	}
}
