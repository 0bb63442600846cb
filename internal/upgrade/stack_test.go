package upgrade

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"unsafe"
)

// TestStackDoesNotMoveBelowAHandler that uses as much of it as handshakes do.
func TestStackDoesNotMoveBelowAHandler(t *testing.T) {
	t.Parallel()
	moved := make(chan bool, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		var here byte
		before := addressOf(&here)
		use(make([]byte, 1))
		moved <- before != addressOf(&here)
	}))
	server.Config.ConnState = growAtRequests
	server.Start()
	defer server.Close()
	res, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if <-moved {
		t.Error("the stack was moved")
	}
}

func addressOf(p *byte) uintptr { return uintptr(unsafe.Pointer(p)) } //nolint:gosec // to be compared, not to be used

// use uses some of the stack.
//
//go:noinline
func use(p []byte) {
	var room [6 << 10]byte
	copy(room[:], p)
	copy(p, room[:])
}

func BenchmarkGrowStack(b *testing.B) {
	for b.Loop() {
		growStack()
	}
}
