package convert

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestCaddyfile(t *testing.T) {
	for line, want := range map[string]string{
		`convert json msgpack`:                                    `{"from":"json","to":"msgpack"}`,
		`convert cbor json other pass`:                            `{"from":"cbor","to":"json","other":"pass"}`,
		`convert json cbor else drop`:                             `{"from":"json","to":"cbor","else":{"drop":true}}`,
		`convert json cbor other pass else close 4000 "not here"`: `{"from":"json","to":"cbor","other":"pass","else":{"close":{"code":4000,"reason":"not here"}}}`,
	} {
		var c Convert
		d := caddyfile.NewTestDispenser(line)
		if err := c.UnmarshalCaddyfile(d); err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if got, err := json.Marshal(&c); err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v; want %s", line, got, err, want)
		}
	}
}

func TestCaddyfileThatIsWrongSaysWhatAndWhere(t *testing.T) {
	for line, want := range map[string]string{
		`convert`:                                 "convert needs two formats, of the client and of the upstream: convert json msgpack",
		`convert json`:                            "convert needs two formats",
		`convert json json`:                       "convert json json changes nothing",
		`convert json xml`:                        `convert: to: unknown format "xml": allowed are json, cbor, msgpack`,
		`convert json cbor msgpack`:               `convert: unknown word "msgpack" after the formats: allowed are other pass, else …`,
		`convert json cbor other`:                 "convert: other needs a word: other pass",
		`convert json cbor other drop`:            `convert: other: unknown word "drop": allowed is pass`,
		`convert json cbor other pass other pass`: "convert: other is there twice",
		`convert json cbor else`:                  "an argument is missing",
		`convert json cbor else drop other pass`:  "too many arguments",
		"convert json cbor {\n\telse drop\n}":     "convert has no block: other and else follow on its line",
	} {
		var c Convert
		err := c.UnmarshalCaddyfile(caddyfile.NewTestDispenser("\n" + line))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Testfile:") {
			t.Errorf("%s: got %v, want %q and the line", line, err, want)
		}
	}
}
