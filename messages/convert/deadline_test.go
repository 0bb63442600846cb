package convert

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

func TestConversionsEndAtTheDeadline(t *testing.T) {
	t.Parallel()
	many := func(text string) string { return strings.Repeat(text, stepsPerLook) }
	for name, test := range map[string]struct{ from, to, few, many string }{
		"json":           {"json", "cbor", "[1,2]", "[" + many("1,") + "1]"},
		"cbor":           {"cbor", "msgpack", "\x82\x01\x02", "\x9f" + many("\x01") + "\xff"},
		"chunks of cbor": {"cbor", "json", "\x5f\x41a\xff", "\x5f" + many("\x41a") + "\xff"},
		"tags of cbor":   {"cbor", "json", "\xd8\x64\x01", "\x9f" + many("\xd8\x64\x01") + "\xff"},
		"msgpack":        {"msgpack", "json", "\x92\x01\x02", "\xdc\x10\x00" + many("\x01")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := started(t, &Convert{From: test.from, To: test.to}, true, true)
			handled := func(payload string, deadline time.Time) error {
				var m messages.Message
				m.Begin(messages.FromClient, c.client.in, []byte(payload), deadline)
				defer m.Finish()
				verdict, err := c.HandleMessage(&m)
				switch {
				case verdict.Kind != messages.KindPass:
					t.Errorf("%.20q is refused: %s", payload, verdict.Reason)
				case err != nil && string(m.Payload) != payload:
					t.Errorf("%.20q has become %.20q", payload, m.Payload)
				}
				return err
			}
			over := time.Now().Add(-1)
			if err := handled(test.many, over); !errors.Is(err, errDeadline) {
				t.Errorf("many values after the deadline: got %v", err)
			}
			if err := handled(test.few, over); err != nil {
				t.Errorf("few values, for which nobody looks: %v", err)
			}
			for _, deadline := range []time.Time{{}, over.Add(time.Hour)} {
				if err := handled(test.many, deadline); err != nil {
					t.Errorf("many values by %v: %v", deadline, err)
				}
			}
		})
	}
}
