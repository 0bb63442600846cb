package handshake

import (
	"bufio"
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
)

// parse reads a request as the server would.
func parse(t testing.TB, lines ...string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.Join(lines, "\r\n") + "\r\n\r\n")))
	if err != nil {
		t.Fatalf("reading the request: %v", err)
	}
	return r
}

const (
	goodKey     = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
	goodVersion = "Sec-WebSocket-Version: 13"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	const get, host, up, conn = "GET /ws HTTP/1.1", "Host: example.com", "Upgrade: websocket", "Connection: Upgrade"
	for name, row := range map[string]struct {
		lines  []string
		kind   Kind
		status int
	}{
		"handshake":                         {[]string{get, host, up, conn, goodKey, goodVersion}, Sound, 0},
		"any case":                          {[]string{get, host, "Upgrade: WebSocket", "Connection: keep-alive, UPGRADE", goodKey, goodVersion}, Sound, 0},
		"plain":                             {[]string{get, host}, Plain, 0},
		"plain, Connection names nothing":   {[]string{get, host, conn}, Plain, 0},
		"h2c":                               {[]string{get, host, "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"}, Plain, 0},
		"h2c, settings not in Connection":   {[]string{get, host, "Upgrade: h2c", conn, "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"}, Plain, 0},
		"h2c, with a body":                  {[]string{"POST /ws HTTP/1.1", host, "Upgrade: h2c", conn, "Content-Length: 5"}, Plain, 0},
		"h2c by HTTP/1.0":                   {[]string{"GET /ws HTTP/1.0", host, "Upgrade: h2c", conn}, Plain, 0},
		"TLS":                               {[]string{get, host, "Upgrade: TLS/1.0", conn}, Plain, 0},
		"nothing":                           {[]string{get, host, "Upgrade: ", conn}, Plain, 0},
		"two others":                        {[]string{get, host, "Upgrade: h2c, IRC/6.9", "Upgrade: RTA/x11", conn}, Plain, 0},
		"h2c with a key":                    {[]string{get, host, "Upgrade: h2c", conn, goodKey}, Broken, 400},
		"h2c with a version":                {[]string{get, host, "Upgrade: h2c", conn, goodVersion}, Broken, 400},
		"h2c with a protocol":               {[]string{get, host, "Upgrade: h2c", conn, "Sec-WebSocket-Protocol: chat"}, Broken, 400},
		"h2c with an underscore":            {[]string{get, host, "Upgrade: h2c", conn, "Sec_WebSocket_Protocol: chat"}, Broken, 400},
		"nothing, with a key":               {[]string{get, host, "Upgrade: ", conn, goodKey}, Broken, 400},
		"websocket/13":                      {[]string{get, host, "Upgrade: websocket/13", conn}, Broken, 400},
		"h2c, websocket":                    {[]string{get, host, "Upgrade: h2c, WebSocket", conn}, Broken, 400},
		"h2c and websocket":                 {[]string{get, host, "Upgrade: h2c", up, conn}, Broken, 400},
		"a list of protocols":               {[]string{get, host, "Upgrade: websocket, h2c", conn, goodKey, goodVersion}, Broken, 400},
		"two Upgrade lines":                 {[]string{get, host, up, "Upgrade: h2c", conn, goodKey, goodVersion}, Broken, 400},
		"Upgrade that is not in Connection": {[]string{get, host, up, "Connection: close", goodKey, goodVersion}, Broken, 400},
		"key without Upgrade":               {[]string{get, host, goodKey}, Broken, 400},
		"POST":                              {[]string{"POST /ws HTTP/1.1", host, up, conn, goodKey, goodVersion}, Broken, 405},
		"HTTP/1.0":                          {[]string{"GET /ws HTTP/1.0", host, up, conn, goodKey, goodVersion}, Broken, 400},
		"body":                              {[]string{get, host, up, conn, goodKey, goodVersion, "Content-Length: 5"}, Broken, 400},
		"chunked body":                      {[]string{get, host, up, conn, goodKey, goodVersion, "Transfer-Encoding: chunked"}, Broken, 400},
		"version 8":                         {[]string{get, host, up, conn, goodKey, "Sec-WebSocket-Version: 8"}, Broken, 426},
		"version 1337":                      {[]string{get, host, up, conn, goodKey, "Sec-WebSocket-Version: 1337"}, Broken, 426},
		"two versions":                      {[]string{get, host, up, conn, goodKey, "Sec-WebSocket-Version: 13, 8"}, Broken, 426},
		"no version":                        {[]string{get, host, up, conn, goodKey}, Broken, 426},
		"no key":                            {[]string{get, host, up, conn, goodVersion}, Broken, 400},
		"two keys":                          {[]string{get, host, up, conn, goodKey, goodKey, goodVersion}, Broken, 400},
		"short key":                         {[]string{get, host, up, conn, "Sec-WebSocket-Key: c2hvcnQ=", goodVersion}, Broken, 400},
		"key with bits behind it":           {[]string{get, host, up, conn, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==", goodVersion}, Sound, 0},
		"key without padding":               {[]string{get, host, up, conn, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ", goodVersion}, Broken, 400},
		"key that is not base64":            {[]string{get, host, up, conn, "Sec-WebSocket-Key: !!!!IHNhbXBsZSBub25jZQ==", goodVersion}, Broken, 400},
		"CONNECT":                           {[]string{"CONNECT example.com:443 HTTP/1.1", host}, Broken, 405},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, fault := Classify(parse(t, row.lines...))
			if got != row.kind {
				t.Errorf("classified as %d, want %d", got, row.kind)
			}
			if fault.Status != row.status {
				t.Errorf("answered %d, want %d", fault.Status, row.status)
			}
		})
	}
}

func TestClassifyExtendedConnect(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		major    int
		protocol string
		version  string
		kind     Kind
		status   int
	}{
		"websocket over h2":       {2, "websocket", "13", Sound, 0},
		"websocket over h3":       {3, "websocket", "13", Sound, 0},
		"other protocol over h2":  {2, "connect-udp", "13", Broken, 400},
		"other protocol over h3":  {3, "webtransport", "13", Broken, 400},
		"plain CONNECT over h2":   {2, "", "", Broken, 405},
		"plain CONNECT over h3":   {3, "HTTP/3.0", "", Broken, 405},
		"wrong version over h2":   {2, "websocket", "7", Broken, 426},
		"missing version over h3": {3, "websocket", "", Broken, 426},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &http.Request{Method: http.MethodConnect, ProtoMajor: row.major, Proto: "HTTP/2.0", Header: make(http.Header), ContentLength: -1}
			if row.major == 3 {
				r.Proto = row.protocol
			} else if row.protocol != "" {
				r.Header[":protocol"] = []string{row.protocol}
			}
			if row.version != "" {
				r.Header.Set("Sec-WebSocket-Version", row.version)
			}
			got, fault := Classify(r)
			if got != row.kind || fault.Status != row.status {
				t.Errorf("got kind %d and status %d, want %d and %d", got, fault.Status, row.kind, row.status)
			}
		})
	}
}

// TestHandshakeInEarlyDataIsTooEarly (RFC 8470): it may be a replay.
func TestHandshakeInEarlyDataIsTooEarly(t *testing.T) {
	t.Parallel()
	for complete, status := range map[bool]int{true: 0, false: http.StatusTooEarly} {
		r := &http.Request{
			Method: http.MethodConnect, ProtoMajor: 3, Proto: "websocket",
			Header: http.Header{"Sec-Websocket-Version": {"13"}}, ContentLength: -1,
			TLS: &tls.ConnectionState{HandshakeComplete: complete},
		}
		if _, fault := Classify(r); fault.Status != status {
			t.Errorf("with a TLS handshake that is complete (%v): status %d", complete, fault.Status)
		}
	}
}

// TestProtocolIsForConnectAlone (RFC 8441 section 4, RFC 9220 section 3): with any
// other method the request is malformed.
func TestProtocolIsForConnectAlone(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "POST", "OPTIONS", "connect"} {
		for name, r := range map[string]*http.Request{
			"h2": {Method: method, ProtoMajor: 2, Proto: "HTTP/2.0", Header: http.Header{":protocol": {"websocket"}}},
			"h3": {Method: method, ProtoMajor: 3, Proto: "websocket", Header: http.Header{}},
		} {
			if got, fault := Classify(r); got != Malformed || fault.Status != 400 {
				t.Errorf("%s over %s: kind %d and status %d", method, name, got, fault.Status)
			}
		}
	}
}

// The example of RFC 6455, section 1.3.
func TestAcceptAnswersTheKey(t *testing.T) {
	t.Parallel()
	if got := Accept("dGhlIHNhbXBsZSBub25jZQ=="); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("got %s", got)
	}
	if one, two := NewKey(), NewKey(); one == two || !validKey([]string{one}) {
		t.Error("our own keys are not fresh, or not valid")
	}
}

func TestOnlyASoundAnswerIsTaken(t *testing.T) {
	t.Parallel()
	key := NewKey()
	offered := http.Header{
		"Sec-Websocket-Protocol":   {"chat, superchat"},
		"Sec-Websocket-Extensions": {"permessage-deflate; client_max_window_bits, x-other"},
	}
	for name, row := range map[string]struct {
		edit func(http.Header)
		ok   bool
	}{
		"sound":            {func(http.Header) {}, true},
		"offered protocol": {func(h http.Header) { h.Set("Sec-WebSocket-Protocol", "superchat") }, true},
		"offered extension": {func(h http.Header) {
			h.Set("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits=15")
		}, true},
		"any case":            {func(h http.Header) { h.Set("Upgrade", "WebSocket"); h.Set("Connection", "upgrade") }, true},
		"no Upgrade":          {func(h http.Header) { h.Del("Upgrade") }, false},
		"Upgrade to h2c":      {func(h http.Header) { h.Set("Upgrade", "h2c") }, false},
		"no Connection":       {func(h http.Header) { h.Del("Connection") }, false},
		"no Accept":           {func(h http.Header) { h.Del("Sec-WebSocket-Accept") }, false},
		"wrong Accept":        {func(h http.Header) { h.Set("Sec-WebSocket-Accept", Accept(NewKey())) }, false},
		"two Accepts":         {func(h http.Header) { h.Add("Sec-WebSocket-Accept", Accept(key)) }, false},
		"unoffered protocol":  {func(h http.Header) { h.Set("Sec-WebSocket-Protocol", "Chat") }, false},
		"two protocols":       {func(h http.Header) { h["Sec-Websocket-Protocol"] = []string{"chat", "superchat"} }, false},
		"list of protocols":   {func(h http.Header) { h.Set("Sec-WebSocket-Protocol", "chat, superchat") }, false},
		"unoffered extension": {func(h http.Header) { h.Set("Sec-WebSocket-Extensions", "x-webkit-deflate-frame") }, false},
		"extension twice":     {func(h http.Header) { h.Set("Sec-WebSocket-Extensions", "x-other, x-other") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			header := http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Accept": {Accept(key)}}
			row.edit(header)
			reason := CheckAnswer(&http.Response{Header: header}, key, offered)
			if (reason == "") != row.ok {
				t.Errorf("reason is %q", reason)
			}
		})
	}
}

func FuzzClassify(f *testing.F) {
	f.Add("websocket", "Upgrade", "13", "dGhlIHNhbXBsZSBub25jZQ==")
	f.Add("h2c", "Upgrade, HTTP2-Settings", "13", "")
	f.Fuzz(func(t *testing.T, upgrade, connection, version, key string) {
		r := &http.Request{Method: http.MethodGet, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{
			"Upgrade": {upgrade}, "Connection": {connection},
			"Sec-Websocket-Version": {version}, "Sec-Websocket-Key": {key},
		}}
		what, fault := Classify(r)
		if what == Plain {
			t.Fatal("a request with an Upgrade header would be forwarded as plain HTTP")
		}
		if (what == Sound) != (fault.Status == 0) {
			t.Fatal("a handshake is either sound or refused")
		}
		if what == Sound && !strings.EqualFold(strings.TrimSpace(upgrade), "websocket") {
			t.Fatalf("upgrades to %q", upgrade)
		}
	})
}
