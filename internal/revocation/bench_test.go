package revocation

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// listOf has so many revocations, half of tokens and half of users.
func listOf(b *testing.B, n int) *List {
	b.Helper()
	l := NewList()
	for i := range n {
		r := ofToken(fmt.Sprintf("5f2b7c1e-9d6a-4b0e-8a53-%012d", i))
		if i%2 == 1 {
			r = ofUser(fmt.Sprintf("user-%d@example.com", i), time.Now())
		}
		if _, err := l.Add(r); err != nil {
			b.Fatal(err)
		}
	}
	return l
}

func BenchmarkFind(b *testing.B) {
	for _, n := range []int{0, Most} {
		l := listOf(b, n)
		for name, c := range map[string]Credential{
			"neither": {Gateway: "chat", User: "somebody@example.com", JTI: "0d0c8b1e-0000-4b0e-8a53-000000000000", Issued: time.Now().Unix()},
			"jti":     {Gateway: "chat", User: "somebody@example.com", JTI: "5f2b7c1e-9d6a-4b0e-8a53-000000050000", Issued: time.Now().Unix()},
			"user":    {Gateway: "chat", User: "user-50001@example.com", Issued: time.Now().Add(-time.Hour).Unix()},
			"later":   {Gateway: "chat", User: "user-50001@example.com", Issued: time.Now().Add(time.Hour).Unix()},
		} {
			b.Run(fmt.Sprintf("%d/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					l.Find(c)
				}
			})
		}
	}
}

// BenchmarkMemory reports the bytes that a revocation takes among 100,000.
func BenchmarkMemory(b *testing.B) {
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		l := listOf(b, Most)
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(l)
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/Most, "B/revocation")
}

// BenchmarkAdd adds to a list that is nearly full.
func BenchmarkAdd(b *testing.B) {
	l := listOf(b, Most-1)
	r := ofToken("t")
	for b.Loop() {
		if _, err := l.Add(r); err != nil {
			b.Fatal(err)
		}
		l.Remove(r.ID)
	}
}
