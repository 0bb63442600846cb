package convert

import (
	"encoding/hex"
	"testing"
)

func FuzzFromJSON(f *testing.F) {
	for _, seed := range []string{`{"a":[1,-2.5e3,"\u00e9\n",null,true,18446744073709551616,-0]}`, `[[[]],{}]`, `"\ud83d\ude00"`, `{"a":1,"\u0061":2}`, `1e400`, "\"\xff\""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) { everywhere(t, "json", payload) })
}

func FuzzFromCBOR(f *testing.F) {
	for _, seed := range []string{"a26162016161a16080", "9f01bf61619fffff", "5f41014100ff", "c249010000000000000000", "c11a514b67b0", "f97e00", "f7", "d78241fbd541fb", "9bffffffffffffffff", "c074323031332d30332d32315432303a30343a30305a", "c06130", "a260f640f6", "81a260f640f6"} {
		f.Add(unhex(f, seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) { everywhere(t, "cbor", payload) })
}

func FuzzFromMsgpack(f *testing.F) {
	for _, seed := range []string{"82a16201a16181a090", "d6ff514b67b0", "c70cff00000001ffffffffffffffff", "cb3fb999999999999a", "c401fb", "ddffffffff", "8301020102ff03", "d1ff7f"} {
		f.Add(unhex(f, seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) { everywhere(t, "msgpack", payload) })
}

func unhex(f *testing.F, digits string) []byte {
	b, err := hex.DecodeString(digits)
	if err != nil {
		f.Fatal(err)
	}
	return b
}

// everywhere converts a payload to the other formats, and back: what was converted once
// can be converted, since it is valid.
func everywhere(t *testing.T, from string, payload []byte) {
	for _, to := range names {
		if to == from {
			continue
		}
		got, err := checked(t, from, to, payload)
		if err != nil {
			continue
		}
		if _, err := checked(t, to, from, got); err != nil && from == "json" {
			t.Fatalf("%s to %s, %q: made %q, of which there is no way back: %v", from, to, payload, got, err)
		}
	}
}
