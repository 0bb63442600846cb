//go:build !noloop

package integration

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// TestQuietConnectionsHaveNoGoroutine looks at all of the process.
func TestQuietConnectionsHaveNoGoroutine(t *testing.T) {
	for _, row := range []struct{ name, options, upstream string }{
		{"an address", "", "ws_gateway %s"},
		{"a name", "", "ws_gateway localhost:%[2]s"},
		{"a connection of the transport", "", "ws_gateway %s {\n transport http {\n local_address 127.0.0.1\n }\n }"},
		{"an upstream over TLS", "", "ws_gateway https://%s {\n transport http {\n tls_insecure_skip_verify\n }\n }"},
		{"a server of HTTP/1.1 only", "servers {\n protocols h1\n }", "ws_gateway %s"},
	} {
		for _, c := range []carrier{overWS, overWSS} {
			t.Run(row.name+", "+c.name, func(t *testing.T) {
				b := newBackend(t, echo)
				if strings.Contains(row.upstream, "https") {
					b = newTLSBackend(t, echo)
				}
				_, port, _ := strings.Cut(b.addr, ":")
				g := startWith(t, row.options, fmt.Sprintf(row.upstream+"%.0[2]s", b.addr, port))
				for range 3 {
					conn := c.open(t, g, "/ws", nil)
					conn.ping(t, "hello")
				}
				stacks := make([]byte, 4<<20)
				stacks = stacks[:runtime.Stack(stacks, true)]
				if strings.Contains(string(stacks), "relay.(*Relay).Run") {
					t.Error("a connection is relayed by goroutines")
				}
			})
		}
	}
}
