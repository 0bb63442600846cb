package dial

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/tcpdial"
)

func TestLocalhostIsDialedDirectlyWhereItIsThisMachine(t *testing.T) {
	t.Parallel()
	four, six := netip.MustParseAddrPort("127.0.0.1:80"), netip.MustParseAddrPort("[::1]:80")
	for name, row := range map[string]struct {
		found []string
		err   error
		want  tcpdial.Target // goes nowhere where it is left to the transport
	}{
		"IPv4":                    {found: []string{"127.0.0.1"}, want: tcpdial.Target{TCP: four}},
		"IPv4, as IPv6":           {found: []string{"::ffff:127.0.0.1"}, want: tcpdial.Target{TCP: four}},
		"IPv6":                    {found: []string{"::1"}, want: tcpdial.Target{TCP: six}},
		"both, in their order":    {found: []string{"::1", "127.0.0.1"}, want: tcpdial.Target{TCP: six, Else: four}},
		"three":                   {found: []string{"::1", "127.0.0.1", "127.0.1.1"}},
		"another machine":         {found: []string{"192.0.2.1"}},
		"another machine as well": {found: []string{"127.0.0.1", "192.0.2.1"}},
		"an address with a zone":  {found: []string{"::1%lo"}},
		"nothing":                 {},
		"unknown":                 {err: errors.New("no such host")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := localhost{lookUp: func(_ context.Context, _, host string) (found []netip.Addr, err error) {
				for _, addr := range row.found {
					found = append(found, netip.MustParseAddr(addr))
				}
				return found, row.err
			}}
			to, ok := l.at(t.Context(), 80, time.Minute)
			if ok != row.want.TCP.IsValid() || ok && to != row.want {
				t.Errorf("got %v, %t; want %v", to, ok, row.want)
			}
		})
	}
}

// TestLocalhostIsLookedUpNowAndThen, also where it was not found, but for a client that has
// not waited.
func TestLocalhostIsLookedUpNowAndThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gone, leave := context.WithCancel(t.Context())
		leave()
		lookUps, answers := 0, true
		l := localhost{lookUp: func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
			if lookUps++; !answers {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}}
		for i, step := range []struct {
			after   time.Duration
			client  context.Context //nolint:containedctx // which has gone, or not
			answers bool
			known   bool
			lookUps int
		}{
			{0, gone, false, false, 1},
			{0, t.Context(), true, true, 2},
			{knownFor, t.Context(), false, true, 2},
			{1, gone, false, false, 3},
			{0, t.Context(), false, false, 4},
			{0, t.Context(), true, false, 4},
			{knownFor + 1, t.Context(), true, true, 5},
		} {
			bubble.Elapse(step.after)
			answers = step.answers
			if _, ok := l.at(step.client, 80, time.Second); ok != step.known || lookUps != step.lookUps {
				t.Errorf("step %d: it was looked up %d times, and is known: %t; want %d, %t", i, lookUps, ok, step.lookUps, step.known)
			}
		}
	})
}
