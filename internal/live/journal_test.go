package live

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

func TestTheLastThatEndedAreKeptOfEachGateway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		for i := range closedKept + 20 {
			for _, gateway := range []string{"one", "two"} {
				c := s.NewConn(Details{ID: fmt.Sprint(gateway, i), Gateway: gateway, OpenedAt: time.Now().Add(-time.Minute)}, "", Authority{})
				s.journal.noteEnd(c, &relay.Outcome{By: relay.Upstream, Code: 4001, Reason: "bye", Limit: "messages",
					FromClient: wsframe.Counts{Text: 2, Bytes: 5}})
			}
			elapse(time.Second)
		}
		all := s.Closed(Filter{}, 1000)
		if len(all) != 2*closedKept {
			t.Fatalf("%d are kept, want %d of each of two", len(all), closedKept)
		}
		for i := 1; i < len(all); i++ {
			if all[i].ClosedAt.After(all[i-1].ClosedAt) {
				t.Fatal("a later one stands behind an earlier one")
			}
		}
		of := s.Closed(Filter{Gateway: "two"}, 3)
		if got, want := fmt.Sprint(idsOf(of)), "[two119 two118 two117]"; got != want {
			t.Errorf("the last ones are %s, want %s", got, want)
		}
		r := of[0]
		if r.By != "upstream" || r.Code != 4001 || r.Reason != "bye" || r.Limit != "messages" || r.Age != 60 ||
			r.MessagesFromClient != 2 || r.BytesFromClient != 5 || r.Present != nil {
			t.Errorf("shown as %+v %+v", r, r.Past)
		}
		if s.Row("one119") == nil || s.Row("one0") != nil {
			t.Error("one of the last is not found by its ID, or one that is forgotten is")
		}
		if got := s.journal.activity("one", Totals{}).Closes; got["upstream 4xxx"] != closedKept+20 || len(got) != 1 {
			t.Errorf("counted as %v", got)
		}
	})
}

func TestEndedConnectionIsFoundAtEachMoment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		s.Name("a:1")
		c, client, backend := prepare(t, s, "a:1", "a:1", 0)
		s.Add(c)
		s.reports.Closed = func(_ *zap.Logger, c *Conn, _ relay.Outcome) {
			if r := s.Row(c.ID); r == nil || r.Present == nil {
				t.Error("it is not live when its end is reported")
			}
			if len(s.Closed(Filter{}, 1)) != 1 {
				t.Error("it is not among those that have ended when its end is reported")
			}
		}
		go run(c)
		go client.AnswerClose()
		go backend.AnswerClose()
		s.End(EndRevoked, func(*Conn) bool { return true })
		elapse(time.Minute)
		if r := s.Row(c.ID); r == nil || r.Past == nil || r.Code != 3000 || r.By != "gateway" {
			t.Errorf("found as %+v", r)
		}
	})
}

func TestRefusalsAndHandshakesAreKept(t *testing.T) {
	t.Parallel()
	s := newSet()
	for i := range 30 {
		s.CountHandshake("gw", "limited")
		s.NoteRefused("gw", Refused{Status: 429, Result: "limited", Reason: fmt.Sprint(i) + strings.Repeat("é", 500), RemoteIP: "192.0.2.1"})
	}
	a := s.journal.activity("gw", Totals{})
	if a.Handshakes["limited"] != 30 || len(a.Refused) != refusedKept {
		t.Errorf("%v handshakes, %d refusals", a.Handshakes, len(a.Refused))
	}
	latest := a.Refused[0]
	if !strings.HasPrefix(latest.Reason, "29é") || !strings.HasSuffix(latest.Reason, "é…") || len(latest.Reason) > longestNote || latest.At.IsZero() {
		t.Errorf("the latest is %+v", latest)
	}
}

func TestGatewaysThatAreLongGoneAreForgotten(t *testing.T) {
	t.Parallel()
	s := newSet()
	for i := range 3 * gatewaysKept {
		s.CountHandshake("stays", "ok")
		s.CountHandshake(fmt.Sprint("gateway", i), "ok")
	}
	if n := len(s.journal.gateways); n != gatewaysKept {
		t.Errorf("%d gateways are kept, want %d", n, gatewaysKept)
	}
	if got := s.journal.activity("stays", Totals{}).Handshakes["ok"]; got != 3*gatewaysKept {
		t.Errorf("the busy one has %d", got)
	}
}

func TestLoadedGatewaysAreNotForgotten(t *testing.T) {
	t.Parallel()
	s := newSet()
	release := s.Enter("quiet", nil, fleet{})
	s.CountHandshake("quiet", "ok")
	many := func() {
		for i := range 2 * gatewaysKept {
			s.CountHandshake(fmt.Sprint("gateway", i), "ok")
		}
	}
	many()
	if got := s.journal.activity("quiet", Totals{}).Handshakes["ok"]; got != 1 {
		t.Errorf("the loaded one has %d handshakes, want 1", got)
	}
	release()
	many()
	if _, kept := s.journal.gateways["quiet"]; kept || len(s.journal.gateways) != gatewaysKept {
		t.Errorf("of the one that is gone is kept: %t; %d are kept in all", kept, len(s.journal.gateways))
	}
}

func TestCloseCodesAreFolded(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]string{
		0: "none", 1: "other", 999: "other", 1000: "1000", 1001: "1001", 1005: "1005", 1015: "1015", 1016: "other", 2999: "other",
		3000: "3000", 3001: "3xxx", 3999: "3xxx", 4000: "4xxx", 4999: "4xxx", 5000: "other", 65535: "other", -1: "other",
	} {
		if got := FoldCode(code); got != want {
			t.Errorf("%d is %q, want %q", code, got, want)
		}
	}
}
