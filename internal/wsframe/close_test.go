package wsframe

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAppendClose(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		code   int
		reason string
		want   string // the payload
	}{
		"code":                         {1000, "", "\x03\xe8"},
		"code and reason":              {1012, "restart", "\x03\xf4restart"},
		"no status":                    {NoStatus, "dropped", ""},
		"never on the wire: 1006":      {1006, "", ""},
		"never on the wire: 1015":      {1015, "", ""},
		"zero":                         {0, "", ""},
		"too large":                    {5000, "", ""},
		"would wrap around":            {1<<16 + 1000, "", ""},
		"longest reason":               {4999, strings.Repeat("r", 123), "\x13\x87" + strings.Repeat("r", 123)},
		"reason too long":              {1000, strings.Repeat("r", 124), "\x03\xe8" + strings.Repeat("r", 123)},
		"cut before a character":       {1000, strings.Repeat("r", 122) + "é", "\x03\xe8" + strings.Repeat("r", 122)},
		"cut after a character":        {1000, strings.Repeat("r", 121) + "ér", "\x03\xe8" + strings.Repeat("r", 121) + "é"},
		"not UTF-8":                    {1000, "a\xffb", "\x03\xe8a\uFFFDb"},
		"too long only once repaired":  {1000, strings.Repeat("\xffr", 61), "\x03\xe8" + strings.Repeat("\uFFFDr", 30) + "\uFFFD"},
		"nothing but continuing bytes": {1000, strings.Repeat("\x80", 200), "\x03\xe8\uFFFD"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := appendFrame([]byte("before"), Close, final, nil, []byte(tt.want))
			if got := AppendClose([]byte("before"), tt.code, tt.reason, false); !bytes.Equal(got, want) {
				t.Errorf("AppendClose = %q, want %q", got, want)
			}
		})
	}
}

func TestAppendCloseMasksWithFreshKeys(t *testing.T) {
	t.Parallel()
	keys := map[string]bool{}
	for range 16 {
		frame := AppendClose(nil, 1000, "bye", true)
		if frame[1] != 0x80|5 || len(frame) != 2+4+5 {
			t.Fatalf("frame %q is not a masked frame of 5 bytes", frame)
		}
		key := frame[2:6]
		keys[string(key)] = true
		if want := appendFrame(nil, Close, final, key, []byte("\x03\xe8bye")); !bytes.Equal(frame, want) {
			t.Fatalf("AppendClose = %q, want %q", frame, want)
		}
	}
	if len(keys) < 15 {
		t.Errorf("16 frames were masked with only %d different keys", len(keys))
	}
}

func FuzzAppendCloseRoundTrip(f *testing.F) {
	f.Add(1000, "bye", true)
	f.Add(NoStatus, "", false)
	f.Add(1012, strings.Repeat("é", 70), true)
	f.Add(-1, "\xff", false)
	f.Fuzz(func(t *testing.T, code int, reason string, masked bool) {
		frame := AppendClose(nil, code, reason, masked)
		var s Scanner
		if n := s.ScanToBoundary(frame); n != len(frame) || !s.AtBoundary() {
			t.Fatalf("%q is not exactly one frame", frame)
		}
		gotCode, gotReason, ok := s.Close()
		switch {
		case !ok:
			t.Fatalf("%q is not a close frame", frame)
		case (frame[1]&0x80 != 0) != masked:
			t.Errorf("masked is not %v", masked)
		case gotCode == NoStatus && gotReason != "":
			t.Errorf("reason %q without a code", gotReason)
		case gotCode != NoStatus && gotCode != code:
			t.Errorf("code %d came back as %d", code, gotCode)
		case gotCode == NoStatus && code >= 3000 && code <= 4999:
			t.Errorf("code %d was not sent", code)
		case !utf8.ValidString(gotReason) || len(gotReason) > 123:
			t.Errorf("reason %q is not sendable", gotReason)
		case gotCode != NoStatus && utf8.ValidString(reason) && !strings.HasPrefix(reason, gotReason):
			t.Errorf("reason %q came back as %q", reason, gotReason)
		case gotCode != NoStatus && utf8.ValidString(reason) && len(reason) <= 123 && gotReason != reason:
			t.Errorf("reason %q was cut to %q", reason, gotReason)
		}
	})
}
