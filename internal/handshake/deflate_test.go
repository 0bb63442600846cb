package handshake

import (
	"net/http"
	"strings"
	"testing"
)

func extensions(values ...string) http.Header { return http.Header{"Sec-Websocket-Extensions": values} }

func TestAcceptDeflate(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		offers []string
		answer string // behind deflateOffer; "-" for none
		bits   int
	}{
		"Chrome":                        {offers: []string{"permessage-deflate; client_max_window_bits"}, bits: 15},
		"Firefox":                       {offers: []string{"permessage-deflate"}, bits: 15},
		"Safari, once":                  {offers: []string{"x-webkit-deflate-frame"}, answer: "-"},
		"Safari":                        {offers: []string{"permessage-deflate"}, bits: 15},
		"ws":                            {offers: []string{"permessage-deflate; client_max_window_bits"}, bits: 15},
		"Python's websockets":           {offers: []string{"permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"}, answer: "; server_max_window_bits=12", bits: 12},
		"coder":                         {offers: []string{"permessage-deflate; client_no_context_takeover; server_no_context_takeover"}, bits: 15},
		"the smallest window":           {offers: []string{"permessage-deflate; server_max_window_bits=8"}, answer: "; server_max_window_bits=8", bits: 8},
		"the largest window":            {offers: []string{"permessage-deflate; server_max_window_bits=15"}, bits: 15},
		"a quoted value":                {offers: []string{`permessage-deflate; server_max_window_bits="10"`}, answer: "; server_max_window_bits=10", bits: 10},
		"upper case":                    {offers: []string{"Permessage-Deflate; Client_No_Context_Takeover"}, bits: 15},
		"no spaces":                     {offers: []string{"permessage-deflate;server_no_context_takeover;server_max_window_bits=9"}, answer: "; server_max_window_bits=9", bits: 9},
		"the second offer":              {offers: []string{"permessage-deflate; server_max_window_bits=7, permessage-deflate"}, bits: 15},
		"the second field":              {offers: []string{"permessage-bzip2", "permessage-deflate"}, bits: 15},
		"the first of two":              {offers: []string{"permessage-deflate; server_max_window_bits=10, permessage-deflate"}, answer: "; server_max_window_bits=10", bits: 10},
		"nothing":                       {answer: "-"},
		"an empty field":                {offers: []string{""}, answer: "-"},
		"a parameter twice":             {offers: []string{"permessage-deflate; client_max_window_bits; client_max_window_bits=10"}, answer: "-"},
		"an unknown parameter":          {offers: []string{"permessage-deflate; fast"}, answer: "-"},
		"a window of 16 bits":           {offers: []string{"permessage-deflate; server_max_window_bits=16"}, answer: "-"},
		"a window of 08 bits":           {offers: []string{"permessage-deflate; server_max_window_bits=08"}, answer: "-"},
		"a window of no bits":           {offers: []string{"permessage-deflate; server_max_window_bits"}, answer: "-"},
		"a window of -9 bits":           {offers: []string{"permessage-deflate; client_max_window_bits=-9"}, answer: "-"},
		"a value that is left out":      {offers: []string{"permessage-deflate; client_max_window_bits="}, answer: "-"},
		"an empty quoted value":         {offers: []string{`permessage-deflate; client_max_window_bits=""`}, answer: "-"},
		"half a quoted value":           {offers: []string{`permessage-deflate; server_max_window_bits="10`}, answer: "-"},
		"a value where none belongs":    {offers: []string{"permessage-deflate; client_no_context_takeover=true"}, answer: "-"},
		"an empty parameter":            {offers: []string{"permessage-deflate;"}, answer: "-"},
		"a name that only begins alike": {offers: []string{"permessage-deflate2"}, answer: "-"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer, agreed := AcceptDeflate(extensions(tt.offers...))
			want, wantAgreed := deflateOffer+tt.answer, Deflate{Agreed: true, Bits: tt.bits}
			if tt.answer == "-" {
				want, wantAgreed = "", Deflate{}
			}
			if answer != want || agreed != wantAgreed {
				t.Errorf("answered %q with %+v, want %q with %+v", answer, agreed, want, wantAgreed)
			}
		})
	}
}

func TestAgreedDeflate(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		answers []string
		refused bool
		want    Deflate
	}{
		"none":                               {},
		"as offered":                         {answers: []string{deflateOffer}, want: Deflate{Agreed: true, Bits: 15}},
		"keeps what it has sent":             {answers: []string{"permessage-deflate"}, want: Deflate{Agreed: true, Bits: 15, Takeover: true}},
		"only what we send stands alone":     {answers: []string{"permessage-deflate; client_no_context_takeover"}, want: Deflate{Agreed: true, Bits: 15, Takeover: true}},
		"a smaller window of its own":        {answers: []string{"permessage-deflate; server_no_context_takeover; server_max_window_bits=10"}, want: Deflate{Agreed: true, Bits: 15}},
		"a window of ours, never offered":    {answers: []string{"permessage-deflate; client_max_window_bits=10"}, refused: true},
		"twice":                              {answers: []string{"permessage-deflate, permessage-deflate"}, refused: true},
		"twice, in two fields":               {answers: []string{"permessage-deflate", "permessage-deflate"}, refused: true},
		"another extension":                  {answers: []string{"x-webkit-deflate-frame"}, refused: true},
		"another one as well":                {answers: []string{deflateOffer + ", permessage-bzip2"}, refused: true},
		"an unknown parameter":               {answers: []string{"permessage-deflate; fast"}, refused: true},
		"a parameter twice":                  {answers: []string{"permessage-deflate; server_no_context_takeover; server_no_context_takeover"}, refused: true},
		"a window that there is not":         {answers: []string{"permessage-deflate; server_max_window_bits=16"}, refused: true},
		"a window without bits":              {answers: []string{"permessage-deflate; server_max_window_bits"}, refused: true},
		"a value where none belongs":         {answers: []string{"permessage-deflate; server_no_context_takeover=1"}, refused: true},
		"an empty field, which says nothing": {answers: []string{""}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			agreed, ok := AgreedDeflate(extensions(tt.answers...))
			if ok == tt.refused || agreed != tt.want {
				t.Errorf("agreed on %+v, %t", agreed, ok)
			}
		})
	}
}

func TestWhatTheGatewayOffersItAccepts(t *testing.T) {
	t.Parallel()
	h := extensions("permessage-bzip2", "permessage-deflate; server_max_window_bits=9")
	OfferDeflate(h)
	answer, agreed := AcceptDeflate(h)
	if agreed != (Deflate{Agreed: true, Bits: 15}) {
		t.Errorf("accepted %+v", agreed)
	}
	SetExtensions(h, answer)
	if agreed, ok := AgreedDeflate(h); !ok || !agreed.Agreed || agreed.Takeover {
		t.Errorf("agreed on %+v", agreed)
	}
	if SetExtensions(h, ""); len(h) > 0 {
		t.Errorf("no extension, but %v", h)
	}
}

// FuzzDeflateOffers has an answer be one to what was offered, and one that a gateway that
// had offered the same would take, however it was offered.
func FuzzDeflateOffers(f *testing.F) {
	f.Add("permessage-deflate; client_max_window_bits; server_max_window_bits=10")
	f.Add(`permessage-deflate; a="b,c"; ;=,x`)
	f.Fuzz(func(t *testing.T, offers string) {
		answer, agreed := AcceptDeflate(extensions(offers))
		if agreed.Agreed != (answer != "") || agreed.Takeover || agreed.Agreed && (agreed.Bits < 8 || agreed.Bits > 15) {
			t.Fatalf("answered %q with %+v", answer, agreed)
		}
		if !agreed.Agreed {
			return
		}
		if !strings.Contains(strings.ToLower(offers), "permessage-deflate") {
			t.Errorf("answered %q, which was not offered", answer)
		}
		if back, ok := AgreedDeflate(extensions(answer)); !ok || !back.Agreed {
			t.Errorf("answered %q, which is no answer", answer)
		}
		if agreed, ok := AgreedDeflate(extensions(offers)); ok && !agreed.Agreed {
			t.Errorf("took %q for no extension", offers)
		}
	})
}
