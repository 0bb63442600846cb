package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// due is how many connections had to be drained.
func (b *bench) due() int { return len(b.took) / 4 * movers(b.conns) }

// What the gateway may have more of after all the reloads: that is a few in
// passing, and less than one for each reload or moved connection. The input
// buffers of crypto/tls grow as long messages come, until each had its largest.
const (
	moreGoroutines  = 20
	moreDescriptors = 20
	moreHeap        = 0.10 // of what it was

	longestExit = 10 * time.Second
)

// broken lists what happened that should not.
func (b *bench) broken() (broken []string) {
	s := b.seen
	for what, is := range map[string]bool{
		"connections were dropped, or bytes lost or changed": s.Dropped > 0 || s.Lost > 0 || s.Wrong > 0,
		"an upstream that was removed was not drained":       s.Undue > 0 || s.Drained != b.due(),
		"goroutines were left behind":                        b.after.goroutines > b.before.goroutines+moreGoroutines,
		"descriptors were left behind":                       b.after.descriptors > b.before.descriptors+moreDescriptors,
		"memory was left behind":                             float64(b.after.heap) > float64(b.before.heap)*(1+moreHeap),
		"the exit told not everyone, or took too long":       s.Parted != b.conns || b.exited > longestExit,
	} {
		if is {
			broken = append(broken, what)
		}
	}
	slices.Sort(broken)
	return broken
}

// report prints what was seen, as Markdown.
func (b *bench) report() {
	s := b.seen
	for _, complaint := range s.Complaints {
		fmt.Println(complaint)
	}
	row := func(what, format string, args ...any) {
		fmt.Printf("| %s | %s |\n", what, fmt.Sprintf(format, args...))
	}
	row("live connections, half ws and half wss", "%d", b.conns)
	fmt.Println("| --- | ---: |")
	row("reloads", "%d in %v", len(b.took), b.lasted.Round(time.Second))
	row("messages echoed", "%d, %.1f MB", s.Messages, megabytes(s.Bytes))
	row("dropped that should have stayed", "%d", s.Dropped)
	row("bytes lost", "%d", s.Lost)
	row("connections with a message changed or out of order", "%d", s.Wrong)
	row("ended with 1012 as their upstream was removed", "%d of %d", s.Drained, b.due())
	row("ended otherwise there", "%d", s.Undue)
	row("handshakes that broke off and were retried", "%d", s.Retried)
	row("goroutines of the gateway, before and after", "%d, %d", b.before.goroutines, b.after.goroutines)
	row("descriptors, before and after", "%d, %d", b.before.descriptors, b.after.descriptors)
	row("live heap, before and after", "%.1f MB, %.1f MB", megabytes(b.before.heap), megabytes(b.after.heap))
	row("resident memory, before and after", "%.1f MB, %.1f MB", megabytes(b.before.resident), megabytes(b.after.resident))
	row("duration of a reload, p50, p99 and longest", "%v, %v, %v", b.quantile(0.5), b.quantile(0.99), b.quantile(1))
	row("ended with 1001 at SIGTERM", "%d of %d", s.Parted, b.conns)
	row("duration of the exit", "%v", b.exited.Round(time.Millisecond))
}

func megabytes(n int) float64 { return float64(n) / 1e6 }

func (b *bench) quantile(q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(b.took))
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[max(0, rank-1)].Round(100 * time.Microsecond)
}
