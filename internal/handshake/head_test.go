package handshake

import (
	"bufio"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAttackNothingEndsALineOfTheHandshake(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*http.Request){
		"value":       func(r *http.Request) { r.Header["X-User"] = []string{"a\r\nX-Admin: 1"} },
		"NUL":         func(r *http.Request) { r.Header["X-User"] = []string{"a\x00"} },
		"name":        func(r *http.Request) { r.Header["X-User: 1\r\nX-Admin"] = []string{"1"} },
		"host":        func(r *http.Request) { r.Host = "a\r\nX-Admin: 1" },
		"query":       func(r *http.Request) { r.URL.RawQuery = "a=1 HTTP/1.1\r\nX-Admin: 1\r\n" },
		"query space": func(r *http.Request) { r.URL.RawQuery = "a=1 HTTP/1.0" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			edit(r)
			if head, err := AppendHead(nil, r, NewKey()); !errors.Is(err, ErrUnsendable) {
				t.Errorf("wrote %q, %v", head, err)
			}
		})
	}
}

func FuzzHandshakeHead(f *testing.F) {
	f.Add("X-User", "alice", "room=1", "example.com")
	f.Add("X-User", "a\r\nX-Admin: 1", "a b", "e\nf")
	f.Fuzz(func(t *testing.T, name, value, query, host string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header = http.Header{name: {value}}
		r.URL.RawQuery, r.Host = query, host
		key := NewKey()
		head, err := AppendHead(nil, r, key)
		if err != nil {
			return
		}
		got, err := http.ReadRequest(bufio.NewReader(strings.NewReader(string(head))))
		if err != nil {
			return // a server refuses it whole, as a bad Host
		}
		fields := len(got.Header)
		if _, ours := got.Header[http.CanonicalHeaderKey(name)]; ours {
			fields--
		}
		if fields > 4 || got.Header.Get("Sec-WebSocket-Key") != key {
			t.Fatalf("the upstream reads %v from %q", got.Header, head)
		}
	})
}
