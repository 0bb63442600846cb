package convert

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/messages"
	"github.com/wsgateway/caddy-ws-gateway/messages/otherwise"
)

// started is a provisioned Convert.
func started(t testing.TB, c *Convert, fromClient, fromUpstream bool) *Convert {
	t.Helper()
	if err := c.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if err := c.SetDirections(fromClient, fromUpstream); err != nil {
		t.Fatal(err)
	}
	return c
}

// handle returns the verdict on a message, and what has become of it.
func handle(t testing.TB, c *Convert, d messages.Direction, kind messages.Type, payload string) (messages.Verdict, messages.Message) {
	t.Helper()
	m := messages.Message{Direction: d, Type: kind, Payload: []byte(payload)}
	v, err := c.HandleMessage(&m)
	if err != nil {
		t.Fatal(err)
	}
	return v, m
}

func TestEachDirectionHasItsConversion(t *testing.T) {
	const text, binary = `{"a":1}`, "\x81\xa1a\x01"
	for name, test := range map[string]struct {
		fromClient, fromUpstream bool
		direction                messages.Direction
		in                       messages.Type
		payload, want            string
	}{
		"client, both":      {true, true, messages.FromClient, messages.Text, text, binary},
		"upstream, both":    {true, true, messages.FromUpstream, messages.Binary, binary, text},
		"client, alone":     {true, false, messages.FromClient, messages.Text, text, binary},
		"upstream, as said": {false, true, messages.FromUpstream, messages.Text, text, binary},
	} {
		t.Run(name, func(t *testing.T) {
			c := started(t, &Convert{From: "json", To: "msgpack"}, test.fromClient, test.fromUpstream)
			v, m := handle(t, c, test.direction, test.in, test.payload)
			if v.Kind != messages.KindPass || string(m.Payload) != test.want || m.Type == test.in {
				t.Errorf("got %+v, a %s message %q", v, m.Type, m.Payload)
			}
		})
	}
}

func TestCBORAndMsgpackAreBothBinary(t *testing.T) {
	c := started(t, &Convert{From: "cbor", To: "msgpack"}, true, true)
	if v, m := handle(t, c, messages.FromClient, messages.Binary, "\xa1\x61a\xf5"); string(m.Payload) != "\x81\xa1a\xc3" || m.Type != messages.Binary {
		t.Errorf("from the client: %+v, %s %q", v, m.Type, m.Payload)
	}
	if v, m := handle(t, c, messages.FromUpstream, messages.Binary, "\x81\xa1a\xc3"); string(m.Payload) != "\xa1\x61a\xf5" {
		t.Errorf("from the upstream: %+v, %q", v, m.Payload)
	}
}

func TestMessagesOfTheOtherTypeAreRefusedUnlessTheyMayPass(t *testing.T) {
	c := started(t, &Convert{From: "json", To: "cbor"}, true, true)
	if v, _ := handle(t, c, messages.FromClient, messages.Binary, "\x01"); v.Code != 1003 || v.Reason != "not a text message" {
		t.Errorf("a binary message from the client: %+v", v)
	}
	if v, _ := handle(t, c, messages.FromUpstream, messages.Text, "1"); v.Code != 1003 || v.Reason != "not a binary message" {
		t.Errorf("a text from the upstream: %+v", v)
	}
	c = started(t, &Convert{From: "json", To: "cbor", Other: "pass"}, true, true)
	if v, m := handle(t, c, messages.FromClient, messages.Binary, "\xff"); v.Kind != messages.KindPass || string(m.Payload) != "\xff" || m.Type != messages.Binary {
		t.Errorf("with other pass: %+v, %s %q", v, m.Type, m.Payload)
	}
}

func TestElseSaysWhatBecomesOfWhatCannotBeConverted(t *testing.T) {
	c := started(t, &Convert{From: "json", To: "cbor"}, true, true)
	if v, m := handle(t, c, messages.FromClient, messages.Text, "{"); v.Kind != messages.KindClose || v.Code != 1007 || v.Reason != "not valid json" || string(m.Payload) != "{" {
		t.Errorf("without else: %+v, %q", v, m.Payload)
	}
	c = started(t, &Convert{From: "json", To: "cbor", Else: &otherwise.Otherwise{Reply: "no"}}, true, true)
	if v, _ := handle(t, c, messages.FromClient, messages.Text, "{"); v.Kind != messages.KindReply || string(v.Payload) != "no" {
		t.Errorf("with a reply: %+v", v)
	}
	c = started(t, &Convert{From: "json", To: "cbor", Else: &otherwise.Otherwise{Reply: "it is {msg.error}"}}, true, true)
	for kind, want := range map[messages.Type]string{messages.Text: "it is not valid json", messages.Binary: "it is not a text message"} {
		if v, _ := handle(t, c, messages.FromClient, kind, "{"); string(v.Payload) != want {
			t.Errorf("with the reason in a reply: %q, want %q", v.Payload, want)
		}
	}
	c = started(t, &Convert{From: "json", To: "cbor", Else: &otherwise.Otherwise{Drop: true}}, true, true)
	if v, _ := handle(t, c, messages.FromClient, messages.Binary, "{"); v.Kind != messages.KindDrop {
		t.Errorf("of the other type, with drop: %+v", v)
	}
}

func TestPlaceholdersAreThoseOfElse(t *testing.T) {
	c := started(t, &Convert{From: "json", To: "cbor", Else: &otherwise.Otherwise{Reply: "{http.request.host}"}}, true, true)
	if got := c.Placeholders(); len(got) != 1 || got[0] != "http.request.host" {
		t.Errorf("got %v", got)
	}
}

func TestConfigurationsThatAreWrongSayWhat(t *testing.T) {
	for config, want := range map[string]string{
		`{"from":"json","to":"yaml"}`:                                `convert: to: unknown format "yaml": allowed are json, cbor, msgpack`,
		`{"from":"yaml","to":"json"}`:                                `convert: from: unknown format "yaml"`,
		`{"to":"json"}`:                                              "convert: from is missing: allowed are json, cbor, msgpack",
		`{"from":"json"}`:                                            "convert: to is missing: allowed are json, cbor, msgpack",
		`{"from":"cbor","to":"cbor"}`:                                "convert cbor cbor changes nothing: name two formats",
		`{"from":"json","to":"cbor","other":"drop"}`:                 `other: unknown word "drop": allowed is pass`,
		`{"from":"json","to":"cbor","else":{}}`:                      "else: say exactly one of drop, close and reply",
		`{"from":"json","to":"cbor","else":{"close":{"code":1006}}}`: "else: the close code 1006",
	} {
		var c Convert
		if err := json.Unmarshal([]byte(config), &c); err != nil {
			t.Fatal(err)
		}
		if err := c.Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "convert") {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
}

// payload is what a test has: JSON as it is, and other formats in hexadecimal digits.
func payload(t testing.TB, name, text string) []byte {
	t.Helper()
	if name == "json" {
		return []byte(text)
	}
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// spelled is the opposite of payload.
func spelled(name string, payload []byte) string {
	if name == "json" {
		return string(payload)
	}
	return hex.EncodeToString(payload)
}
