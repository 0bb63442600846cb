package wsframe

import (
	"encoding/binary"
	"strings"
	"testing"
)

func TestCheckClose(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		payload string
		want    int
	}{
		"empty":                    {"", 0},
		"one byte":                 {"\x03", 1002},
		"code":                     {"\x03\xe8", 0},
		"code and reason":          {"\x03\xe8bye", 0},
		"longest reason":           {"\x03\xe8" + strings.Repeat("é", 61) + ".", 0},
		"reason not UTF-8":         {"\x03\xe8\xff", 1007},
		"reason cut inside a rune": {"\x03\xe8\xe2\x82", 1007},
		"surrogate in the reason":  {"\x03\xe8\xed\xa0\x80", 1007},
		"neither code nor reason":  {"\x03\xed\xff", 1002},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := CheckClose([]byte(tt.payload))
			if v.Code != tt.want || v.Found() != (v.Reason != "") || len(v.Reason) > maxReason {
				t.Errorf("CheckClose(%q) = %+v, want %d", tt.payload, v, tt.want)
			}
		})
	}
}

func TestCheckCloseKnowsWhichCodesAreSent(t *testing.T) {
	t.Parallel()
	ranges := []struct {
		from, to int
		valid    bool
	}{
		{0, 999, false},
		{1000, 1003, true},
		{1004, 1006, false},
		{1007, 1014, true},
		{1015, 2999, false},
		{3000, 4999, true},
		{5000, 65535, false},
	}
	next := 0
	for _, r := range ranges {
		for code := r.from; code <= r.to; code++ {
			if v := CheckClose(binary.BigEndian.AppendUint16(nil, uint16(code))); v.Found() == r.valid {
				t.Errorf("code %d: %+v", code, v)
			}
			next++
		}
	}
	if next != 1<<16 {
		t.Errorf("%d codes were looked at, want all", next)
	}
}
