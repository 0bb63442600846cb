package handshake

import (
	"bufio"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestPlainSwitchingIsParsedHere(t *testing.T) {
	t.Parallel()
	res := parseSwitching("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nconnection:\tUpgrade \r\n"+
		"Sec-WebSocket-Accept: abc=\r\nSec-WebSocket-Protocol: chat\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Empty:\r\n", nil)
	if res == nil {
		t.Fatal("left to net/http")
	}
	want := http.Header{
		"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Accept": {"abc="},
		"Sec-Websocket-Protocol": {"chat"}, "Set-Cookie": {"a=1", "b=2"}, "X-Empty": {""},
	}
	if !maps.EqualFunc(res.Header, want, slices.Equal) {
		t.Errorf("got %v", res.Header)
	}
	res.Header.Add("Upgrade", "more")
	if got := res.Header.Get("Connection"); got != "Upgrade" {
		t.Errorf("fields share their memory: Connection is now %q", got)
	}
}

func TestOtherAnswersAreLeftToNetHTTP(t *testing.T) {
	t.Parallel()
	for _, head := range []string{
		"HTTP/1.1 200 OK\r\n",
		"HTTP/1.0 101 Switching Protocols\r\n",
		"HTTP/1.1 1010 Switching Protocols\r\n",
		"HTTP/1.1 101\r\n",
		"HTTP/1.1 101 OK\r\nA: b\nC: d\r\n",
		"HTTP/1.1 101 OK\r\nA: b\r\n more\r\n",
		"HTTP/1.1 101 OK\r\nA : b\r\n",
		"HTTP/1.1 101 OK\r\nA\r\n",
		"HTTP/1.1 101 OK\r\nA: \x00\r\n",
		"HTTP/1.1 101 OK\r\nContent-Length: 5\r\n",
		"HTTP/1.1 101 OK\r\nConnection: Upgrade, close\r\n",
		"HTTP/1.1 101 OK\r\ntransfer-encoding: chunked\r\n",
	} {
		if res := parseSwitching(head, nil); res != nil {
			t.Errorf("%q was taken for %v", head, res)
		}
	}
}

func FuzzSwitching(f *testing.F) {
	f.Add("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x=\r\n")
	f.Add("HTTP/1.1 101  \r\nA:b\r\na: c\r\n")
	f.Add("HTTP/1.1 101 OK\r\nPragma: no-cache\r\nConnection: close\r\n")
	f.Fuzz(func(t *testing.T, head string) {
		if strings.Contains(head, "\r\n\r\n") || !strings.HasSuffix(head, "\r\n") {
			return // it is never asked
		}
		got := parseSwitching(head, nil)
		if got == nil {
			return
		}
		br := bufio.NewReader(strings.NewReader(head + "\r\nrest"))
		want, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatalf("net/http says %v of %q", err, head)
		}
		_ = want.Body.Close()
		if got.Status != want.Status || got.StatusCode != want.StatusCode || !maps.EqualFunc(got.Header, want.Header, slices.Equal) {
			t.Fatalf("%q is %q %v here and %q %v there", head, got.Status, got.Header, want.Status, want.Header)
		}
		if rest, _ := io.ReadAll(br); string(rest) != "rest" {
			t.Fatalf("net/http ends the head of %q before %q", head, rest)
		}
	})
}
