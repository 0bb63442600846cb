package membership

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
)

func newBenched(b *testing.B, caps admission.Caps) *Member {
	f := memory.New(time.Now)
	seats := admission.New()
	b.Cleanup(seats.Track(gateway, caps, nil))
	m := New(Config{
		ID: "a", Settings: fleet.Settings{Node: "a", Heartbeat: heartbeat, Timeout: time.Second, Secret: []byte("secret")},
		Seats: seats, Conns: balance.NewLedger(), Info: func() Info { return Info{} },
		Open: func(context.Context) (fleet.Engine, error) { return f.Engine(), nil },
	})
	m.Start()
	b.Cleanup(func() { m.Stop(context.Background()) })
	return m
}

func BenchmarkClaim(b *testing.B) {
	caps := admission.Caps{PerIP: 1 << 30, PerUser: 1 << 30}
	for _, users := range []int{1, 10_000} {
		b.Run(strconv.Itoa(users)+"users", func(b *testing.B) {
			m := newBenched(b, caps)
			names := make([]string, users)
			for i := range names {
				names[i] = strconv.Itoa(i)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				seat := new(admission.Seat)
				m.config.Seats.Admit(seat, gateway, caps, alice, names[i%users])
				if v := m.Claim(seat, gateway, caps, alice, names[i%users]).Wait(context.Background()); v != (Verdict{}) {
					b.Fatalf("verdict %+v", v)
				}
				seat.Release()
				i++
			}
		})
	}
}

// BenchmarkClaims has many clients come at once.
func BenchmarkClaims(b *testing.B) {
	caps := admission.Caps{PerIP: 1 << 30, PerUser: 1 << 30}
	m := newBenched(b, caps)
	b.ReportAllocs()
	b.SetParallelism(200)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			seat := new(admission.Seat)
			m.config.Seats.Admit(seat, gateway, caps, alice, "alice")
			m.Claim(seat, gateway, caps, alice, "alice").Wait(context.Background())
			seat.Release()
		}
	})
}

// BenchmarkClaimAlone is what a claim costs who makes it.
func BenchmarkClaimAlone(b *testing.B) {
	caps := admission.Caps{PerIP: 1 << 30, PerUser: 1 << 30}
	m := newBenched(b, caps)
	keep := new(admission.Seat)
	m.config.Seats.Admit(keep, gateway, caps, alice, "alice")
	m.Claim(keep, gateway, caps, alice, "alice").Wait(context.Background())
	m.leave() // nobody else allocates
	<-m.over
	m.ended = false
	b.ReportAllocs()
	for b.Loop() {
		seat := new(admission.Seat)
		m.config.Seats.Admit(seat, gateway, caps, alice, "alice")
		m.Claim(seat, gateway, caps, alice, "alice")
		seat.Release()
		m.claims, m.books.dirty = m.claims[:0], m.books.dirty[:0]
	}
}
