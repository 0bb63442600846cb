package integration

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"
)

// goroutines counts the running goroutines by what they run, leaf first and
// without addresses, for those whose stack has one of the words.
func goroutines(words ...string) map[string]int {
	counts := map[string]int{}
	for _, stack := range stacks() {
		if !containsAny(stack, words) || isImmortal(stack) {
			continue
		}
		var names []string
		for line := range strings.Lines(stack) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "goroutine ") || strings.HasPrefix(line, "/") || line == "" {
				continue
			}
			if cut := strings.LastIndexByte(line, '('); cut > 0 && !strings.HasPrefix(line, "created by") {
				line = line[:cut]
			}
			line, _, _ = strings.Cut(line, " in goroutine ")
			names = append(names, line)
		}
		counts[strings.Join(names, " < ")]++
	}
	return counts
}

// stacks are those of all goroutines, at one moment.
func stacks() []string {
	buf := make([]byte, 1<<20)
	for {
		if n := runtime.Stack(buf, true); n < len(buf) {
			return strings.Split(string(buf[:n]), "\n\n")
		}
		buf = make([]byte, 2*len(buf))
	}
}

func containsAny(s string, words []string) bool {
	for _, word := range words {
		if strings.Contains(s, word) {
			return true
		}
	}
	return len(words) == 0
}

// What may not be running once every connection is closed and Caddy has
// stopped: the gateway, its relay, and servers still holding a request.
var connectionCode = []string{
	"github.com/wsgateway/caddy-ws-gateway.",
	"github.com/wsgateway/caddy-ws-gateway/internal/",
	"caddyhttp.(*Server).ServeHTTP",
	"reverseproxy.",
}

// immortals, once started, run for as long as the process: Caddy's cleaner of
// dynamic upstreams, and the relay's event loop.
var immortals = []string{"reverseproxy.(*Upstream).fillDynamicHost", "relay.(*loop).run"}

func isImmortal(stack string) bool {
	return slices.ContainsFunc(immortals, func(name string) bool { return strings.Contains(stack, name) })
}

// moreThan lists what there is more of now than before.
func moreThan(now, before map[string]int) string {
	var b strings.Builder
	for _, stack := range slices.Sorted(maps.Keys(now)) {
		if extra := now[stack] - before[stack]; extra > 0 {
			fmt.Fprintf(&b, "%d × %s\n", extra, stack)
		}
	}
	return b.String()
}

// goroutinesLeft waits for the goroutines of connections to end and describes
// those that do not.
func goroutinesLeft() string {
	var left string
	poll(patience, func() bool {
		left = moreThan(goroutines(connectionCode...), nil)
		return left == ""
	})
	return left
}

// poll asks done every few milliseconds until it says yes or the time is up.
func poll(limit time.Duration, done func() bool) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			return done()
		}
	}
	return true
}
