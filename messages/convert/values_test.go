package convert

import (
	"strings"
	"testing"
)

// TestWhatBecomesOfValues has the table of the documentation. "json>cbor" converts one
// way, "json=cbor" both.
func TestWhatBecomesOfValues(t *testing.T) {
	for _, test := range []struct{ way, from, to string }{
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
	} {
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
	got, err := convert(payload(t, from, in), formats[from], formats[to])
	if err != nil || spelled(to, got) != spelled(to, payload(t, to, want)) {
		t.Errorf("%s to %s, %s: got %s, %v; want %s", from, to, in, spelled(to, got), err, want)
	}
}

func TestWhatCannotBeConvertedIsAFault(t *testing.T) {
	for _, test := range []struct {
		way, from string
		want      fault
	}{
		// Not valid.
		{"json>cbor", ``, notJSON},
		{"json>cbor", ` `, notJSON},
		{"json>cbor", `{"a":1`, notJSON},
		{"json>cbor", `[1,]`, notJSON},
		{"json>cbor", `[1 2]`, notJSON},
		{"json>cbor", `{"a"}`, notJSON},
		{"json>cbor", `{"a":1,}`, notJSON},
		{"json>cbor", `{1:1}`, notJSON},
		{"json>cbor", `{[]:1}`, notJSON},
		{"json>cbor", `1 2`, notJSON},
		{"json>cbor", `{} {`, notJSON},
		{"json>cbor", `NaN`, notJSON},
		{"json>cbor", `01`, notJSON},
		{"json>cbor", `"\ud800"`, notJSON},
		{"json>cbor", "\"\xff\"", notJSON},
		{"json>cbor", "{\"\xff\":1}", notJSON},
		{"json>cbor", "\"\n\"", notJSON},
		{"json>cbor", `]`, notJSON},
		{"cbor>json", "", notCBOR},
		{"cbor>json", "0101", notCBOR},
		{"cbor>json", "18", notCBOR},
		{"cbor>json", "1c", notCBOR},
		{"cbor>json", "1f", notCBOR},
		{"cbor>json", "ff", notCBOR},
		{"cbor>json", "81ff", notCBOR},
		{"cbor>json", "8201", notCBOR},
		{"cbor>json", "9f01", notCBOR},
		{"cbor>json", "bf01ff", notCBOR},
		{"cbor>json", "61ff", notCBOR},
		{"cbor>json", "6261", notCBOR},
		{"cbor>json", "7f61c3 61a9ff", notCBOR},
		{"cbor>json", "5f6161ff", notCBOR},
		{"cbor>json", "5f5f4101ffff", notCBOR},
		{"cbor>json", "5f4101", notCBOR},
		{"cbor>json", "f818", notCBOR},
		{"cbor>json", "c201", notCBOR},
		{"cbor>json", "c1", notCBOR},
		{"cbor>msgpack", "c0 01", notCBOR},
		{"cbor>msgpack", "c0 6161", notCBOR},
		{"cbor>msgpack", "c1 6161", notCBOR},
		{"cbor>json", "9b00000000ffffffff", notCBOR},
		{"cbor>json", "bbffffffffffffffff", notCBOR},
		{"cbor>json", "7bffffffffffffffff", notCBOR},
		{"msgpack>json", "", notMsgpack},
		{"msgpack>json", "c1", notMsgpack},
		{"msgpack>json", "0101", notMsgpack},
		{"msgpack>json", "92 01", notMsgpack},
		{"msgpack>json", "81 a161", notMsgpack},
		{"msgpack>json", "81", notMsgpack},
		{"msgpack>json", "a1ff", notMsgpack},
		{"msgpack>json", "cd01", notMsgpack},
		{"msgpack>json", "cb00", notMsgpack},
		{"msgpack>json", "ddffffffff", notMsgpack},
		{"msgpack>json", "dfffffffff", notMsgpack},
		{"msgpack>json", "dbffffffff", notMsgpack},
		{"msgpack>json", "c6ffffffff", notMsgpack},
		{"msgpack>json", "d6", notMsgpack},
		{"msgpack>json", "d6ff00", notMsgpack},
		{"msgpack>json", "c702ff0000", notMsgpack},
		{"msgpack>json", "d7ff ffffffffffffffff", notMsgpack},

		// Valid, but the other format has nothing for it.
		{"json>cbor", `1e400`, faultNumber},
		{"json>msgpack", `18446744073709551616`, faultNumber},
		{"json>msgpack", `-9223372036854775809`, faultNumber},
		{"cbor>msgpack", "3b8000000000000000", faultNumber},
		{"cbor>msgpack", "c2 49 010000000000000000", faultNumber},
		{"json>cbor", strings.Repeat("9", 310), faultNumber},
		{"json>cbor", strings.Repeat("9", 1<<20), faultNumber},
		{"cbor>json", "c2 5881" + strings.Repeat("ff", 129), faultNumber},
		{"cbor>json", "f97e00", faultNaN},
		{"cbor>json", "f9fc00", faultNaN},
		{"msgpack>json", "ca7f800000", faultNaN},
		{"cbor>json", "e0", faultSimple},
		{"cbor>json", "f820", faultSimple},
		{"cbor>json", "c4 82 21 19 6ab3", faultTag},
		{"cbor>json", "d81d00", faultTag},
		{"msgpack>json", "d40100", faultExtension},
		{"msgpack>cbor", "c70c05 000000000000000000000000", faultExtension},
		{"msgpack>cbor", "d703 0000000000000000", faultExtension},
		{"cbor>msgpack", "c1 1b7fffffffffffffff", faultTime},
		{"cbor>msgpack", "c1 f97e00", faultTime},
		{"cbor>msgpack", "c1 1b0000003fffffffff", faultTime},
		{"msgpack>json", "c70cff 00000000 7fffffffffffffff", faultTime},
		{"msgpack>cbor", "c70cff 00000000 8000000000000000", faultTime},

		// Keys.
		{"cbor>json", "a1 80 01", faultKey},
		{"cbor>json", "a1 41fb 01", faultKey},
		{"cbor>msgpack", "a1 f6 01", faultKey},
		{"msgpack>json", "81 c0 01", faultKey},
		{"msgpack>cbor", "81 cb3ff8000000000000 01", faultKey},
		{"json>cbor", `{"a":1,"\u0061":2}`, faultDuplicate},
		{"json>msgpack", `{"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0,"1":0}`, faultDuplicate},
		{"cbor>msgpack", "a2 01 00 1801 00", faultDuplicate},
		{"cbor>json", "a2 01 00 6131 00", faultDuplicate},
		{"msgpack>json", "82 a131 00 01 00", faultDuplicate},
		{"msgpack>cbor", "82 a131 00 d90131 00", faultDuplicate},
	} {
		from, to, _ := strings.Cut(test.way, ">")
		got, err := convert(payload(t, from, test.from), formats[from], formats[to])
		if err != test.want {
			t.Errorf("%s to %s, %.60s: got %.60s, %v; want %v", from, to, test.from, spelled(to, got), err, test.want)
		}
	}
}

func TestNestingEndsWhereItIsTooDeep(t *testing.T) {
	for from, parts := range map[string][2]string{"json": {"[", "]"}, "cbor": {"\x81", ""}, "msgpack": {"\x91", ""}} {
		inner := map[string]string{"json": "1", "cbor": "\x01", "msgpack": "\x01"}[from]
		for depth, want := range map[int]error{512: nil, 513: faultDeep, 100000: faultDeep} {
			nested := strings.Repeat(parts[0], depth) + inner + strings.Repeat(parts[1], depth)
			for _, to := range names {
				if to == from {
					continue
				}
				if _, err := convert([]byte(nested), formats[from], formats[to]); err != want {
					t.Errorf("%s to %s, %d deep: got %v, want %v", from, to, depth, err, want)
				}
			}
		}
	}
	for _, nested := range []string{strings.Repeat("\x9f", 100000), strings.Repeat("\xa1\x61a", 100000), strings.Repeat("\xd8\x20", 100000)} {
		if _, err := convert([]byte(nested), formats["cbor"], formats["json"]); err != faultDeep {
			t.Errorf("%x…: got %v", nested[:4], err)
		}
	}
}
