package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/url"
	"testing"
	"time"
	"unicode/utf8"
)

func TestLifeTravelsInItsTarget(t *testing.T) {
	t.Parallel()
	for number := range int64(200) {
		l := drawLife(1, number, time.Second)
		u, err := url.ParseRequestURI(l.target())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := lifeOf(u); err != nil || got != l {
			t.Fatalf("%s became %s, %v", &l, &got, err)
		}
		if l != drawLife(1, number, time.Second) {
			t.Fatalf("%s is not drawn again", &l)
		}
	}
}

func TestMessagesAreHeardAsTheyWereSaid(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 1))
	for _, masked := range []bool{false, true} {
		v := voice{seed: 7, name: "k1", pushes: !masked}
		var wire []byte
		for n := range 200 {
			op, payload := v.message(n, nil)
			if op == opText && !utf8.Valid(payload) {
				t.Errorf("message %d is no text", n)
			}
			for _, f := range split(r, op, payload, masked) {
				wire = append(append(wire, frame{opPing, []byte("in between")}.bytes(map[bool]uint32{true: 9}[masked])...), f...)
			}
		}
		h := hearer{br: bufio.NewReader(bytes.NewReader(wire)), masked: masked}
		for n := 0; n < 200; {
			f, err := h.hear()
			if err != nil {
				t.Fatal(err)
			}
			if f.op == opPing {
				continue
			}
			op, want := v.message(n, nil)
			if err := differs(f, op, want); err != nil {
				t.Fatalf("message %d: %v", n, err)
			}
			n++
		}
		if _, err := h.hear(); !errors.Is(err, io.EOF) || h.mid {
			t.Errorf("after the last message: %v, in a frame: %t", err, h.mid)
		}
	}
}

func TestAlteredMessagesAreNoticed(t *testing.T) {
	t.Parallel()
	v := voice{seed: 7, name: "k1"}
	n := 0
	for ; ; n++ {
		if _, payload := v.message(n, nil); len(payload) > 200 {
			break
		}
	}
	op, payload := v.message(n, nil)
	otherOp, others := voice{seed: 7, name: "k2"}.message(n, nil)
	nextOp, next := v.message(n+1, nil)
	changed := bytes.Clone(payload)
	changed[100] ^= 1
	for name, f := range map[string]frame{
		"another connection's": {otherOp, others}, "the next": {nextOp, next}, "a bit": {op, changed},
		"short": {op, payload[:150]}, "long": {op, append(bytes.Clone(payload), 0)}, "another kind": {op ^ opText ^ opBinary, payload},
	} {
		if err := differs(f, op, payload); !errors.Is(err, errForeign) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGarbageIsNoFrame(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 1))
	for range 100 {
		for _, masked := range []bool{false, true} {
			h := hearer{br: bufio.NewReader(bytes.NewReader(garbage(r))), masked: masked}
			if f, err := h.hear(); !errors.Is(err, errGarbage) {
				t.Fatalf("heard %v, %v", f, err)
			}
		}
	}
}

func TestEndsNeedCauses(t *testing.T) {
	t.Parallel()
	const instance = "127.0.0.1:1/2"
	killed := &chaos{weather: weather{kills: map[string]time.Time{instance: time.Now()}}}
	removed := &chaos{weather: weather{removals: []span{{address: "127.0.0.1:1"}}}}
	for name, c := range map[string]struct {
		life
		code    uint16 // 0 for no close frame
		reason  string
		mid     bool
		cut     bool
		closing bool
		chaos   *chaos
		fine    bool
	}{
		"all came back":            {code: 1000, reason: "got 5", fine: true},
		"a message was lost":       {code: 1000, reason: "got 4"},
		"the upstream closes":      {life: life{Upstream: closes}, code: 4005, reason: "bye 5 3", fine: true},
		"an echo is missing":       {life: life{Upstream: closes}, code: 4005, reason: "bye 6 3"},
		"a push is missing":        {life: life{Upstream: closes}, code: 4005, reason: "bye 5 4"},
		"another's last words":     {code: 4005, reason: "bye 5 3"},
		"no cause":                 {code: 1012, reason: "upstream vanished"},
		"no reason":                {life: life{Upstream: resets}, code: 1012},
		"the upstream reset":       {life: life{Upstream: resets}, code: 1012, reason: "upstream vanished", fine: true},
		"it was killed":            {code: 1012, reason: "upstream vanished", chaos: killed, fine: true},
		"it was removed":           {code: 1012, reason: "drained", chaos: removed, fine: true},
		"last words are missing":   {life: life{Upstream: halves}, code: 1012, reason: "upstream vanished"},
		"a fault of the gateway":   {life: life{Upstream: resets}, code: 1011, reason: "panic"},
		"no limit has been met":    {life: life{Route: limitedRoute}, code: 1009, reason: "too large"},
		"a limit has been met":     {life: life{Route: tightRoute}, code: 1009, reason: "too large", fine: true},
		"no close frame":           {life: life{Upstream: resets}},
		"killed within a frame":    {mid: true, chaos: killed, fine: true},
		"nobody did it":            {mid: true},
		"the client did it":        {life: life{Client: resets}, cut: true, fine: true},
		"the close is unanswered":  {closing: true},
		"the upstream has to":      {life: life{Upstream: hangsUp}, closing: true, fine: true},
		"the client sent garbage":  {life: life{Client: garbles}, cut: true, code: 1002, reason: "bad frame", fine: true},
		"its garbage is too large": {life: life{Client: garbles, Route: limitedRoute}, cut: true, code: 1009, reason: "client: message too big", fine: true},
		"nobody has sent garbage":  {life: life{Client: resets}, code: 1002, reason: "bad frame"},
		"the gateway's own notion": {code: 1014, reason: "bad gateway"},
	} {
		a := &caller{life: c.life, cut: c.cut, closing: c.closing}
		a.instance, a.pushed, a.h.mid, a.err = instance, 3, c.mid, io.EOF
		a.sent.Store(5)
		a.echoed.Store(5)
		if c.code != 0 {
			f := closing(c.code, c.reason)
			a.closed = &f
		}
		if c.chaos == nil {
			c.chaos = new(chaos)
		}
		if err := a.verdict(c.chaos); (err == nil) != c.fine {
			t.Errorf("%s: %v", name, err)
		}
	}
}
