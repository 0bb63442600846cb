package live

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
)

// fleet is a handler that has dynamic upstreams, and no other.
type fleet []string

func (fleet) Upstreams() []balance.Member    { return nil }
func (fleet) Down([]balance.Member) []string { return nil }
func (f fleet) Dynamic() []string            { return f }
func (fleet) Limits() Limits                 { return Limits{} }

func TestTotalsOfAbsentUpstreamsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		key := func(i int) pair { return pair{"gw", fmt.Sprintf("pod-%d:80", i)} }
		for i := range 3 * totalsMost {
			s.Failed("gw", key(i).upstream)
			elapse(time.Millisecond)
			if n := len(s.departed.kept); n > totalsMost {
				t.Fatalf("%d are kept", n)
			}
		}
		if s.departed.kept[key(3*totalsMost-1)] == nil || s.departed.kept[key(0)] != nil {
			t.Error("not those are kept that were there last")
		}
		s.Enter("gw", nil, fleet{key(3*totalsMost - 1).upstream})
		elapse(totalsKept + time.Minute)
		s.Failed("gw", key(0).upstream)
		if n := len(s.departed.kept); n != 2 || s.departed.kept[key(3*totalsMost-1)] == nil {
			t.Errorf("%d are kept, want the one that failed now and the one that is there all the time", n)
		}
	})
}
