package bulletin

import (
	"fmt"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
)

// BenchmarkJoin has a node join with 100,000 records, which the engine has, or has not.
func BenchmarkJoin(b *testing.B) {
	const many = 100_000
	records := make(map[ref]string, many)
	for i := range many {
		records[ref{ends, fmt.Sprintf("%040d", i)}] = fmt.Sprintf("%300d", i)
	}
	for _, row := range []struct {
		name          string
		first, second map[ref]string
	}{{"given", nil, records}, {"learned", records, nil}, {"the same", records, records}} {
		b.Run(row.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				f := memory.New(time.Now)
				join(b, start(b, f, "a", options{stored: row.first}))
				b.StartTimer()
				join(b, start(b, f, "b", options{stored: row.second}))
			}
		})
	}
}

// join waits until a node has joined, and stops it.
func join(b *testing.B, n *node) {
	for !n.board.isFollowing() {
		<-time.NewTimer(time.Millisecond).C
	}
	if b.Failed() {
		b.Fatal("it failed")
	}
	n.stop()
}
