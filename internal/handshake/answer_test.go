package handshake

import (
	"net/http"
	"testing"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

func TestReservedBitsAreThoseOfTheExtensionsThatWereAccepted(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		accepted []string
		want     byte
	}{
		{nil, 0},
		{[]string{""}, 0},
		{[]string{"permessage-deflate"}, wsframe.Deflate},
		{[]string{"Permessage-Deflate; server_no_context_takeover; client_max_window_bits=10"}, wsframe.Deflate},
		{[]string{"permessage-deflate ;x=\"a b\""}, wsframe.Deflate},
		{[]string{"x-other"}, wsframe.UnknownExtension},
		{[]string{"permessage-deflate, x-other"}, wsframe.UnknownExtension},
		{[]string{"x-other", "permessage-deflate"}, wsframe.UnknownExtension},
		{[]string{"x-webkit-deflate-frame"}, wsframe.UnknownExtension},
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
