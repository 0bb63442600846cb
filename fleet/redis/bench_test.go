package redis

import (
	"fmt"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/internal/redistest"
)

// BenchmarkClaim measures a claim of two keys and a knock, as a handshake has, and the
// release of what it was granted, with other nodes around.
func BenchmarkClaim(b *testing.B) {
	for _, nodes := range []int{1, 3, 20} {
		b.Run(fmt.Sprint(nodes, " nodes"), func(b *testing.B) {
			server := redistest.Start(b)
			e := mustOpen(b, options(b, server.URL("", "")), "p", newScripts(clockLua))
			for i := range nodes {
				share := &fleet.Share{Node: fmt.Sprint("node ", i), Seq: 1, Beat: fleet.Beat{Void: time.Hour}}
				share.Counts = map[string]int{"0123456789abcdef": 3, "fedcba9876543210": 5}
				if err := e.Assert(b.Context(), share); err != nil {
					b.Fatal(err)
				}
			}
			seq := uint64(1)
			exchange := func(batch fleet.Batch) {
				batch.Node, batch.Seq, batch.Last = "node 0", seq+1, seq
				seq++
				if _, err := e.Exchange(b.Context(), &batch); err != nil {
					b.Fatal(err)
				}
			}
			server.Do("CONFIG", "RESETSTAT")
			for b.Loop() {
				exchange(fleet.Batch{
					Claims: []fleet.Claim{{Keys: []fleet.Capped{{Key: "0123456789abcdef", Cap: 1000}, {Key: "fedcba9876543210", Cap: 1000}}}},
					Knocks: []fleet.Knock{{Key: "0123456789abcdef", Every: time.Microsecond, Burst: 1}},
				})
				exchange(fleet.Batch{Sets: []fleet.Set{{Key: "0123456789abcdef", Count: 3}, {Key: "fedcba9876543210", Count: 5}}})
			}
			b.Log(server.Do("INFO", "commandstats"))
		})
	}
}

// BenchmarkBytesPerUser measures what a node's share takes in Redis.
func BenchmarkBytesPerUser(b *testing.B) {
	server := redistest.Start(b)
	e := mustOpen(b, options(b, server.URL("", "")), "p", newScripts(clockLua))
	const users = 100_000
	counts := make(map[string]int, users)
	for i := range users {
		counts[fmt.Sprintf("%016x", i*2654435761)] = 1
	}
	seq := uint64(0)
	for b.Loop() {
		seq++
		if err := e.Assert(b.Context(), &fleet.Share{Node: "a", Seq: seq, Counts: counts, Beat: fleet.Beat{Void: time.Hour}}); err != nil {
			b.Fatal(err)
		}
	}
	if bytes, is := server.Do("MEMORY", "USAGE", "{p}:node:a", "SAMPLES", "0").(int64); is {
		b.ReportMetric(float64(bytes)/users, "bytes/user")
	}
	b.Log(server.Do("SLOWLOG", "GET", "3"))
}
