package handshake

import (
	"net/http"
	"testing"
)

func TestReservedBitsAreThoseOfTheExtensionsThatWereAccepted(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		accepted []string
		want     byte
	}{
		{nil, 0},
		{[]string{""}, 0},
		{[]string{"permessage-deflate"}, 0x40},
		{[]string{"Permessage-Deflate; server_no_context_takeover; client_max_window_bits=10"}, 0x40},
		{[]string{"permessage-deflate ;x=\"a b\""}, 0x40},
		{[]string{"x-other"}, 0x70},
		{[]string{"permessage-deflate, x-other"}, 0x70},
		{[]string{"x-other", "permessage-deflate"}, 0x70},
		{[]string{"x-webkit-deflate-frame"}, 0x70},
	} {
		answer := http.Header{}
		if row.accepted != nil {
			answer["Sec-Websocket-Extensions"] = row.accepted
		}
		if got := ReservedBits(answer); got != row.want {
			t.Errorf("%q: %#x, want %#x", row.accepted, got, row.want)
		}
	}
}
