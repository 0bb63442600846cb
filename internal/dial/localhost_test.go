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
			to, ok := l.at(t.Context(), 80)
			if ok != row.want.TCP.IsValid() || ok && to != row.want {
				t.Errorf("got %v, %t; want %v", to, ok, row.want)
			}
		})
	}
}

func TestLocalhostIsLookedUpNowAndThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lookUps := 0
		failure := errors.New("canceled")
		l := localhost{lookUp: func(context.Context, string, string) ([]netip.Addr, error) {
			lookUps++
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, failure
		}}
		for _, next := range []struct {
			after time.Duration
			err   error
			want  int
		}{{0, failure, 1}, {0, nil, 2}, {knownFor, nil, 2}, {1, nil, 3}, {1, nil, 3}} {
			bubble.Elapse(next.after)
			failure = next.err
			if _, ok := l.at(t.Context(), 80); ok != (next.err == nil) || lookUps != next.want {
				t.Errorf("it was looked up %d times, and is known: %t; want %d, %t", lookUps, ok, next.want, next.err == nil)
			}
		}
	})
}
