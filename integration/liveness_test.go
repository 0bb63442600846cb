package integration

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// expectClosed wants both sides to be told, the client first, and the line of it.
func expectClosed(t *testing.T, c *wsConn, upstream *backendConn, client, backend int, by, limit string) {
	t.Helper()
	c.expectClose(t, client)
	upstream.expectClose(t, backend)
	_ = upstream.Close()
	c.kill()
	b := upstream.b
	eventually(t, "log line closed", func() bool { return len(book.closedBy(b.addr)) == b.count(&b.opened) })
	lines := book.closedBy(b.addr)
	line := lines[len(lines)-1]
	if line.str("by") != by || line.str("limit") != limit {
		t.Errorf("the line is %s", line.raw)
	}
}

// TestLimitsOfWhatAConnectionCarries end it by their code, however it is relayed.
func TestLimitsOfWhatAConnectionCarries(t *testing.T) {
	large := frame{fin: true, op: opBinary, payload: make([]byte, 1001)}
	for limit, row := range map[string]struct {
		config           string
		sends            func(*wsConn, *backendConn) error
		client, upstream int
	}{
		"message_size": {"message_size 1000", func(c *wsConn, _ *backendConn) error { return c.send(large) }, 1009, 1001},
		"message_size of fragments": {"message_size 1000", func(c *wsConn, _ *backendConn) error {
			_ = c.send(frame{op: opBinary, payload: make([]byte, 600)})
			return c.send(frame{fin: true, op: opContinuation, payload: make([]byte, 401)})
		}, 1009, 1001},
		"message_size of the upstream": {"message_size 1000", func(_ *wsConn, b *backendConn) error { return b.write(large) }, 1001, 1009},
		"messages": {"messages 2/1h close", func(c *wsConn, _ *backendConn) error {
			for range 3 {
				if err := c.send(text("one of three")); err != nil {
					return err
				}
			}
			return nil
		}, 1008, 1001},
		"bytes": {"bytes 1000/1h close", func(c *wsConn, _ *backendConn) error { return c.send(large) }, 1008, 1001},
	} {
		t.Run(limit, func(t *testing.T) {
			b := newBackend(t, handOver())
			word, _, _ := strings.Cut(limit, " ")
			name := "carried_" + word
			g := start(t, limitedSite(b.addr, name, row.config))
			before := g.limited(t, name, word)
			eachCarrier(t, func(t *testing.T, c carrier) {
				client, upstream := pair(t, g, b, c)
				if err := row.sends(client, upstream); err != nil {
					t.Fatal(err)
				}
				expectClosed(t, client, upstream, row.client, row.upstream, "gateway", word)
			})
			if got := g.limited(t, name, word) - before; got != float64(len(carriers)) {
				t.Errorf("%v were counted", got)
			}
			g.assertNoLiveSeries(t)
		})
	}
}

// TestClientThatIsMadeToWaitLosesNothing and the waiting is counted.
func TestClientThatIsMadeToWaitLosesNothing(t *testing.T) {
	for word, config := range map[string]string{"messages": "messages 10/100ms", "bytes": "bytes 10kB/100ms burst 2kB"} {
		t.Run(word, func(t *testing.T) {
			b := newBackend(t, echo)
			g := start(t, limitedSite(b.addr, "waiting", config))
			eachCarrier(t, func(t *testing.T, c carrier) {
				before := g.limited(t, "waiting", word)
				client := c.open(t, g, "/ws", nil)
				sent := make(chan error, 1)
				payload := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 500+100*i) }
				go func() {
					for i := range 30 {
						if err := client.send(frame{fin: true, op: opBinary, payload: payload(i)}); err != nil {
							sent <- err
							return
						}
					}
					sent <- nil
				}()
				began := time.Now()
				for i := range 30 {
					client.expect(t, frame{op: opBinary, payload: payload(i)})
				}
				if took := time.Since(began); took < 150*time.Millisecond {
					t.Errorf("all came within %s", took)
				}
				if err := receive(t, "sending", sent); err != nil {
					t.Error(err)
				}
				client.finish(t)
				if got := g.limited(t, "waiting", word) - before; got < 1 {
					t.Errorf("%v were counted", got)
				}
			})
		})
	}
}

// TestClientIsPingedAndEndedWhereItDoesNotAnswer without the upstream hearing of it.
func TestClientIsPingedAndEndedWhereItDoesNotAnswer(t *testing.T) {
	b := newBackend(t, handOver())
	g := start(t, "ws_gateway "+b.addr+" {\n ping 100ms 500ms\n }")
	eachCarrier(t, func(t *testing.T, c carrier) {
		client, upstream := pair(t, g, b, c)
		var last frame
		for range 3 {
			f, err := client.next()
			if err != nil || f.op != opPing {
				t.Fatalf("got %v, %v, want a ping", f, err)
			}
			client.mustSend(t, frame{fin: true, op: opPong, payload: f.payload})
			last = f
		}
		client.mustSend(t, frame{fin: true, op: opPong, payload: []byte("its own")})
		if f, err := upstream.readFrame(); err != nil || f.op != opPong || string(f.payload) != "its own" {
			t.Fatalf("the upstream got %v, %v", f, err)
		}
		if len(last.payload) == 0 {
			t.Error("a ping without a payload: answers to others could not be told from those to it")
		}
		expectClosed(t, client, upstream, 1001, 1011, "client", "") // it answers no more
	})
	g.assertNoLiveSeries(t)
}

// TestIdleConnectionIsEnded on both sides, and pings do not keep it.
func TestIdleConnectionIsEnded(t *testing.T) {
	b := newBackend(t, handOver())
	g := start(t, "ws_gateway "+b.addr+" {\n idle_timeout 2s\n }")
	eachCarrier(t, func(t *testing.T, c carrier) {
		client, upstream := pair(t, g, b, c)
		client.mustSend(t, frame{fin: true, op: opPing})
		if f, err := upstream.readFrame(); err != nil || f.op != opPing {
			t.Fatalf("the upstream got %v, %v", f, err)
		}
		expectClosed(t, client, upstream, 1001, 1001, "gateway", "")
	})
}

// TestStrictKnowsTheExtensionsThatWereAgreedOn and everything passes without it.
func TestStrictKnowsTheExtensionsThatWereAgreedOn(t *testing.T) {
	compressed := frame{fin: true, rsv: 0x40, op: opText, payload: []byte("\xff\xfe")}
	const deflate, other = "permessage-deflate; client_max_window_bits", "x-other"
	for name, row := range map[string]struct {
		strict bool
		answer []string
		send   frame
		code   int // 0: it passes
	}{
		"compression":             {true, []string{"Sec-WebSocket-Extensions: permessage-deflate"}, compressed, 0},
		"no extension":            {true, nil, compressed, 1002},
		"another bit":             {true, []string{"Sec-WebSocket-Extensions: permessage-deflate"}, frame{fin: true, rsv: 0x20, op: opText}, 1002},
		"another extension":       {true, []string{"Sec-WebSocket-Extensions: x-other"}, frame{fin: true, rsv: 0x30, op: opBinary}, 0},
		"no UTF-8":                {true, nil, text("\xff\xfe"), 1007},
		"an opcode":               {true, nil, frame{fin: true, op: 0x3}, 1002},
		"an extension, tunnelled": {false, nil, compressed, 0},
		"no UTF-8, tunnelled":     {false, nil, text("\xff\xfe"), 0},
		"an opcode, tunnelled":    {false, nil, frame{fin: true, op: 0x3}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, handOver(row.answer...))
			g := start(t, fmt.Sprintf("ws_gateway %s {\n %s\n }", b.addr, map[bool]string{true: "strict"}[row.strict]))
			eachCarrier(t, func(t *testing.T, c carrier) {
				client := c.open(t, g, "/ws", map[string][]string{"Sec-WebSocket-Extensions": {deflate + ", " + other}})
				upstream := receive(t, "upgrade at the backend", b.upgraded)
				client.mustSend(t, row.send)
				if row.code != 0 {
					expectClosed(t, client, upstream, row.code, 1001, "gateway", "")
					return
				}
				got, err := upstream.readFrame()
				if err != nil || got.op != row.send.op || got.rsv != row.send.rsv || !bytes.Equal(got.payload, row.send.payload) {
					t.Errorf("the upstream got %v, %v", got, err)
				}
				_ = upstream.Close()
				client.kill()
			})
		})
	}
}
