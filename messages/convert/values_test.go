package convert

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// values has what becomes of values, as the documentation says. "json>cbor" converts one
// way, "json=cbor" both.
var values = []struct{ way, from, to string }{
	// The same in all.
	{"json=cbor", `null`, "f6"},
	{"json=msgpack", `null`, "c0"},
	{"json=cbor", `[true,false]`, "82f5f4"},
	{"json=msgpack", `[true,false]`, "92c3c2"},
	{"json=cbor", `{"b":1,"a":{"":[]}}`, "a2 6162 01 6161 a1 60 80"},
	{"json=msgpack", `{"b":1,"a":{"":[]}}`, "82 a162 01 a161 81 a0 90"},
	{"cbor=msgpack", "a2 6162 01 6161 80", "82 a162 01 a161 90"},
	{"json>cbor", " [ 1 ,\n2 ] ", "820102"},
	{"json=cbor", `"é😀"`, "66 c3a9 f09f9880"},
	{"json>cbor", `"\u00e9\ud83d\ude00\n"`, "67 c3a9 f09f9880 0a"},
	{"cbor>json", "64 0a 01 22 5c", `"\n\u0001\"\\"`},

	// Integers.
	{"json=cbor", `[23,24,255,256,65536,4294967296]`, "86 17 1818 18ff 190100 1a00010000 1b0000000100000000"},
	{"json=msgpack", `[127,128,255,256,65536,4294967296]`, "96 7f cc80 ccff cd0100 ce00010000 cf0000000100000000"},
	{"json=cbor", `[-1,-24,-25,-256]`, "84 20 37 3818 38ff"},
	{"json=msgpack", `[-1,-32,-33,-128,-129]`, "95 ff e0 d0df d080 d1ff7f"},
	{"json=cbor", `18446744073709551615`, "1bffffffffffffffff"},
	{"json=msgpack", `18446744073709551615`, "cfffffffffffffffff"},
	{"json=msgpack", `-9223372036854775808`, "d38000000000000000"},
	{"json=cbor", `-18446744073709551616`, "3bffffffffffffffff"},
	{"json=cbor", `18446744073709551616`, "c2 49 010000000000000000"},
	{"json=cbor", `-18446744073709551617`, "c3 49 010000000000000000"},
	{"cbor>json", "c2 43 000001", `1`},
	{"cbor>json", "c2 5f 4101 4100 ff", `256`},
	{"cbor>msgpack", "c3 41 00", "ff"},
	{"cbor>json", "1800", `0`},
	{"msgpack>json", "d1 00c8", `200`},

	// Floats.
	{"json>cbor", `1.0`, "f93c00"},
	{"json>msgpack", `1.0`, "ca3f800000"},
	{"cbor>json", "f93c00", `1`},
	{"json=cbor", `[0.1,1.5]`, "82 fb3fb999999999999a f93e00"},
	{"json=msgpack", `[0.1,1.5]`, "92 cb3fb999999999999a ca3fc00000"},
	{"json=cbor", `-0`, "f98000"},
	{"json=msgpack", `-0`, "ca80000000"},
	{"json>cbor", `-0.0`, "f98000"},
	{"json>cbor", `1e5`, "fa47c35000"},
	{"cbor>json", "fa47c35000", `100000`},
	{"cbor>json", "fb4340000000000000", `9.007199254740992e+15`},
	{"json>cbor", `9.007199254740992e+15`, "fa5a000000"},
	{"cbor>json", "fb433fffffffffffff", `9007199254740991`},
	{"json>cbor", `0.12345678901234567890`, "fb3fbf9add3746f65f"},
	{"msgpack>json", "ca3dcccccd", `0.10000000149011612`},
	{"cbor>json", "f90001", `5.960464477539063e-08`},
	{"cbor=msgpack", "f97c00", "ca7f800000"},
	{"cbor>msgpack", "f97e00", "cb7ff8000000000000"},
	{"msgpack>cbor", "cb7ff8000000000001", "f97e00"},

	// Byte strings.
	{"cbor>json", "43 fbff00", `"-_8A"`},
	{"cbor>json", "41 fb", `"-w"`},
	{"msgpack>json", "c401fb", `"-w"`},
	{"cbor=msgpack", "41fb", "c401fb"},
	{"cbor>json", "82 d6 41fb 41fb", `["+w==","-w"]`},
	{"cbor>json", "d7 82 41fb d5 41fb", `["FB","-w"]`},
	{"cbor>json", "5f 4101 40 420203 ff", `"AQID"`},
	{"cbor>json", "7f 6161 60 6162 ff", `"ab"`},

	// What CBOR has more.
	{"cbor>json", "f7", `null`},
	{"cbor>json", "9f 01 bf 6161 9f ff ff ff", `[1,{"a":[]}]`},
	{"cbor>json", "d9d9f7 01", `1`},
	{"cbor>json", "d820 6161", `"a"`},
	{"cbor>json", "c0 6161", `"a"`},
	{"cbor>json", "c1 1a514b67b0", `1363896240`},

	// Points in time.
	{"cbor=msgpack", "c0 74 323031332d30332d32315432303a30343a30305a", "d6ff514b67b0"},
	{"cbor>msgpack", "c0 78 19 323031332d30332d32315432313a30343a30302b30313a3030", "d6ff514b67b0"},
	{"cbor>msgpack", "c1 1a514b67b0", "d6ff514b67b0"},
	{"cbor>msgpack", "c1 fb41d452d9ec200000", "d7ff 773594 00514b67b0"},
	{"cbor>msgpack", "c1 20", "c70cff 00000000 ffffffffffffffff"},
	{"msgpack>json", "d6ff514b67b0", `"2013-03-21T20:04:00Z"`},
	{"msgpack>json", "d7ff 773594 00514b67b0", `"2013-03-21T20:04:00.5Z"`},
	{"msgpack>json", "c70cff 00000001 ffffffffffffffff", `"1969-12-31T23:59:59.000000001Z"`},

	// Keys.
	{"cbor>json", "a2 01 02 20 03", `{"1":2,"-1":3}`},
	{"msgpack>json", "82 01 02 ff 03", `{"1":2,"-1":3}`},
	{"cbor=msgpack", "a3 01 02 6131 03 41fb 04", "83 01 02 a131 03 c401fb 04"},
}

func TestWhatBecomesOfValues(t *testing.T) {
	for _, test := range values {
		from, to, both := strings.Cut(test.way, "=")
		if !both {
			from, to, _ = strings.Cut(test.way, ">")
		}
		check(t, from, to, test.from, test.to)
		if both {
			check(t, to, from, test.to, test.from)
		}
	}
}

func check(t *testing.T, from, to, in, want string) {
	t.Helper()
	got, err := convert(payload(t, from, in), formats[from], formats[to], time.Time{})
	if err != nil || spelled(to, got) != spelled(to, payload(t, to, want)) {
		t.Errorf("%s to %s, %s: got %s, %v; want %s", from, to, in, spelled(to, got), err, want)
	}
}

// faults has what cannot be converted.
var faults = []struct {
	way, from string
	want      fault
}{
	// Not valid.
	{"json>cbor", ``, errJSON},
	{"json>cbor", ` `, errJSON},
	{"json>cbor", `{"a":1`, errJSON},
	{"json>cbor", `[1,]`, errJSON},
	{"json>cbor", `[1 2]`, errJSON},
	{"json>cbor", `{"a"}`, errJSON},
	{"json>cbor", `{"a":1,}`, errJSON},
	{"json>cbor", `{1:1}`, errJSON},
	{"json>cbor", `{[]:1}`, errJSON},
	{"json>cbor", `1 2`, errJSON},
	{"json>cbor", `{} {`, errJSON},
	{"json>cbor", `NaN`, errJSON},
	{"json>cbor", `01`, errJSON},
	{"json>cbor", `"\ud800"`, errJSON},
	{"json>cbor", "\"\xff\"", errJSON},
	{"json>cbor", "{\"\xff\":1}", errJSON},
	{"json>cbor", "\"\n\"", errJSON},
	{"json>cbor", `]`, errJSON},
	{"cbor>json", "", errCBOR},
	{"cbor>json", "0101", errCBOR},
	{"cbor>json", "18", errCBOR},
	{"cbor>json", "1c", errCBOR},
	{"cbor>json", "1f", errCBOR},
	{"cbor>json", "ff", errCBOR},
	{"cbor>json", "81ff", errCBOR},
	{"cbor>json", "8201", errCBOR},
	{"cbor>json", "9f01", errCBOR},
	{"cbor>json", "bf01ff", errCBOR},
	{"cbor>json", "61ff", errCBOR},
	{"cbor>json", "6261", errCBOR},
	{"cbor>json", "7f61c3 61a9ff", errCBOR},
	{"cbor>json", "5f6161ff", errCBOR},
	{"cbor>json", "5f5f4101ffff", errCBOR},
	{"cbor>json", "5f4101", errCBOR},
	{"cbor>json", "f818", errCBOR},
	{"cbor>json", "c201", errCBOR},
	{"cbor>json", "c1", errCBOR},
	{"cbor>msgpack", "c0 01", errCBOR},
	{"cbor>msgpack", "c0 6161", errCBOR},
	{"cbor>msgpack", "c0 78 19 323031332d30332d32315432303a30343a30302b30303a3630", errCBOR}, // 2013-03-21T20:04:00+00:60
	{"cbor>msgpack", "c0 78 19 323031332d30332d32315432303a30343a30302b32343a3030", errCBOR}, // 2013-03-21T20:04:00+24:00
	{"cbor>msgpack", "c0 76 323031332d30332d32315432303a30343a30302c355a", errCBOR},          // 2013-03-21T20:04:00,5Z
	{"cbor>msgpack", "c0 73 323031332d30332d323154323a30343a30305a", errCBOR},                // 2013-03-21T2:04:00Z
	{"cbor>msgpack", "c1 6161", errCBOR},
	{"cbor>json", "9b00000000ffffffff", errCBOR},
	{"cbor>json", "bbffffffffffffffff", errCBOR},
	{"cbor>json", "7bffffffffffffffff", errCBOR},
	{"msgpack>json", "", errMsgpack},
	{"msgpack>json", "c1", errMsgpack},
	{"msgpack>json", "0101", errMsgpack},
	{"msgpack>json", "92 01", errMsgpack},
	{"msgpack>json", "81 a161", errMsgpack},
	{"msgpack>json", "81", errMsgpack},
	{"msgpack>json", "a1ff", errMsgpack},
	{"msgpack>json", "cd01", errMsgpack},
	{"msgpack>json", "cb00", errMsgpack},
	{"msgpack>json", "ddffffffff", errMsgpack},
	{"msgpack>json", "dd00000005 d40100", errMsgpack}, // before what is in it
	{"msgpack>json", "dfffffffff", errMsgpack},
	{"msgpack>json", "dbffffffff", errMsgpack},
	{"msgpack>json", "c6ffffffff", errMsgpack},
	{"msgpack>json", "d6", errMsgpack},
	{"msgpack>json", "d6ff00", errMsgpack},
	{"msgpack>json", "c702ff0000", errMsgpack},
	{"msgpack>json", "d7ff ffffffffffffffff", errMsgpack},

	// Valid, but the other format has nothing for it.
	{"json>cbor", `1e400`, errNumber},
	{"json>msgpack", `18446744073709551616`, errNumber},
	{"json>msgpack", `-9223372036854775809`, errNumber},
	{"cbor>msgpack", "3b8000000000000000", errNumber},
	{"cbor>msgpack", "c2 49 010000000000000000", errNumber},
	{"json>cbor", strings.Repeat("9", 310), errNumber},
	{"json>cbor", strings.Repeat("9", 1<<20), errNumber},
	{"cbor>json", "c2 5881" + strings.Repeat("ff", 129), errNumber},
	{"cbor>json", "f97e00", errNaN},
	{"cbor>json", "f9fc00", errNaN},
	{"msgpack>json", "ca7f800000", errNaN},
	{"cbor>json", "e0", errSimple},
	{"cbor>json", "f820", errSimple},
	{"cbor>json", "c4 82 21 19 6ab3", errTag},
	{"cbor>json", "d81d00", errTag},
	{"msgpack>json", "d40100", errExtension},
	{"msgpack>cbor", "c70c05 000000000000000000000000", errExtension},
	{"msgpack>cbor", "d703 0000000000000000", errExtension},
	{"cbor>msgpack", "c1 1b7fffffffffffffff", errTime},
	{"cbor>msgpack", "c1 f97e00", errTime},
	{"cbor>msgpack", "c1 1b0000003fffffffff", errTime},
	{"msgpack>json", "c70cff 00000000 7fffffffffffffff", errTime},
	{"msgpack>cbor", "c70cff 00000000 8000000000000000", errTime},

	// Keys.
	{"cbor>json", "a1 80 01", errKey},
	{"cbor>json", "a1 41fb 01", errKey},
	{"cbor>msgpack", "a1 f6 01", errKey},
	{"msgpack>json", "81 c0 01", errKey},
	{"msgpack>cbor", "81 cb3ff8000000000000 01", errKey},
	{"json>cbor", `{"a":1,"\u0061":2}`, errDuplicate},
	{"json>msgpack", `{"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0,"1":0}`, errDuplicate},
	{"cbor>msgpack", "a2 01 00 1801 00", errDuplicate},
	{"cbor>json", "a2 01 00 6131 00", errDuplicate},
	{"msgpack>json", "82 a131 00 01 00", errDuplicate},
	{"msgpack>cbor", "82 a131 00 d90131 00", errDuplicate},
}

func TestWhatCannotBeConvertedIsAFault(t *testing.T) {
	for _, test := range faults {
		from, to, _ := strings.Cut(test.way, ">")
		got, err := convert(payload(t, from, test.from), formats[from], formats[to], time.Time{})
		if !errors.Is(err, test.want) {
			t.Errorf("%s to %s, %.60s: got %.60s, %v; want %v", from, to, test.from, spelled(to, got), err, test.want)
		}
	}
}

func TestNestingEndsWhereItIsTooDeep(t *testing.T) {
	for from, parts := range map[string][2]string{"json": {"[", "]"}, "cbor": {"\x81", ""}, "msgpack": {"\x91", ""}} {
		inner := map[string]string{"json": "1", "cbor": "\x01", "msgpack": "\x01"}[from]
		for depth, want := range map[int]error{512: nil, 513: errDeep, 100000: errDeep} {
			nested := strings.Repeat(parts[0], depth) + inner + strings.Repeat(parts[1], depth)
			for _, to := range names {
				if to == from {
					continue
				}
				if _, err := convert([]byte(nested), formats[from], formats[to], time.Time{}); !errors.Is(err, want) {
					t.Errorf("%s to %s, %d deep: got %v, want %v", from, to, depth, err, want)
				}
			}
		}
	}
	for _, nested := range []string{strings.Repeat("\x9f", 100000), strings.Repeat("\xa1\x61a", 100000), strings.Repeat("\xd8\x20", 100000)} {
		if _, err := convert([]byte(nested), formats["cbor"], formats["json"], time.Time{}); !errors.Is(err, errDeep) {
			t.Errorf("%x…: got %v", nested[:4], err)
		}
	}
}
