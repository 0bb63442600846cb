package dial

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestAddressHasOneCanonicalForm(t *testing.T) {
	t.Parallel()
	for want, spellings := range map[string][]string{
		"localhost:80":           {"localhost:80", "LocalHost:80", "tcp/localhost:80", "TCP/localhost:080", "http://localhost", "http://localhost:80/", "h2c://localhost"},
		"backend.example:443":    {"backend.example:443", "Backend.Example.:443", "https://backend.example"},
		"10.0.0.1:9001":          {"10.0.0.1:9001", "tcp/10.0.0.1:9001", "tcp4/10.0.0.1:9001", "[::ffff:10.0.0.1]:9001"},
		"[2001:db8::1]:9001":     {"[2001:db8::1]:9001", "[2001:DB8:0:0:0:0:0:1]:9001", "tcp6/[2001:db8:0::1]:9001"},
		"[fe80::1%eth0]:9001":    {"[fe80::1%eth0]:9001", "[FE80:0::1%eth0]:9001"},
		"tcp4/backend:9001":      {"tcp4/backend:9001", "TCP4/Backend:09001"},
		"redis.:6379":            {"redis.:6379"}, // not redis:6379, which name servers may complete
		"unix//run/app.sock":     {"unix//run/app.sock", "UNIX//run//app.sock", "unix//run/./app.sock"},
		"unix//run/../app.sock":  {"unix//run/../app.sock"},
		"unix/@abstract":         {"unix/@abstract"},
		":9001":                  {":9001", "tcp/:9001"},
		"{http.request.host}:80": {"{http.request.host}:80"},
		"Host.{env.ZONE}:80":     {"Host.{env.ZONE}:80"},
		"fd/3":                   {"fd/3"},
		"":                       {""},
	} {
		for _, spelling := range spellings {
			if got := Canonical(spelling); got != want {
				t.Errorf("%s is %s, want %s", spelling, got, want)
			}
		}
	}
}

// FuzzCanonicalAddress: whatever can be dialed leads to the same place by its
// canonical form, and that is its own.
func FuzzCanonicalAddress(f *testing.F) {
	for _, seed := range []string{"a:1", "A.b.:080", "tcp4/[::1]:1", "unix//a//b", "tcp/1.2.3.4:0", "[::ffff:1.2.3.4]:1", "a_b-c:65535", "http://a", ":1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		canonical := Canonical(address)
		if again := Canonical(canonical); again != canonical {
			t.Fatalf("%q is %q, and that is %q", address, canonical, again)
		}
		before, err := caddy.ParseNetworkAddress(address)
		if err != nil || strings.Contains(address, "{") || strings.Contains(address, "://") || before.PortRangeSize() != 1 {
			return
		}
		after, err := caddy.ParseNetworkAddress(canonical)
		if err != nil {
			t.Fatalf("%q is %q, which is none: %v", address, canonical, err)
		}
		if before.StartPort != after.StartPort || before.PortRangeSize() != after.PortRangeSize() {
			t.Fatalf("%q is %q, with another port", address, canonical)
		}
	})
}

func BenchmarkCanonicalAddress(b *testing.B) {
	for name, address := range map[string]string{"canonical": "backend-1.example:9001", "other": "tcp/Backend-1.example.:9001"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Canonical(address)
			}
		})
	}
}
