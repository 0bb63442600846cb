package integration

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// utterance is what a client sends once its WebSocket is open.
type utterance struct {
	name  string
	sent  []byte
	chop  int    // so many bytes are written at once; 0 for all
	heeds int    // so many messages come back before what ends it is sent; 0 if nothing is waited for
	ends  []byte // what is sent last
	offer string // of extensions
	code  int    // what an endpoint that holds to RFC 6455 closes with; 0 where all is as it should be
	lax   bool   // the npm package ws does not mind
	// The length is one that nobody could read to the end, and the gateway says so
	// however it is configured.
	endless bool
	// coder/websocket v1.8.15 does not survive it: buffers that it still reads from go
	// back to a pool.
	breaks bool
}

// outcome is all that the client got.
type outcome struct {
	frames []string // without the close frame
	heard  []string // the same, with messages put together
	close  string   // the close frame; "" for none
	after  int      // frames that followed it
	cut    bool     // the stream ended inside a frame
}

func (o outcome) String() string {
	return fmt.Sprintf("%d frames %s, then %q; %d after it; cut %t", len(o.frames), strings.Join(o.frames, ", "), o.close, o.after, o.cut)
}

func (o outcome) equal(other outcome) bool {
	return slices.Equal(o.frames, other.frames) && o.close == other.close && o.after == other.after && o.cut == other.cut
}

// describe tells frames apart, whatever is in them.
func describe(f frame) string {
	payload := fmt.Sprintf("%q", f.payload)
	if len(f.payload) > 20 {
		payload = fmt.Sprintf("%d bytes %x", len(f.payload), sha256.Sum256(f.payload))[:28]
	}
	return fmt.Sprintf("%x/%x/%t/%t %s", f.op, f.rsv, f.fin, f.masked, payload)
}

// utter sends all that there is to say, reads until the end, and half-closes once the
// other side has closed.
func (u utterance) utter(conn *wsConn) (o outcome) {
	defer conn.kill()
	defer conn.guard().Stop()
	var ear listener
	said, heeded := make(chan struct{}), make(chan struct{})
	heed := sync.OnceFunc(func() { close(heeded) })
	defer heed()
	go func() {
		defer close(said)
		if !u.say(conn, u.sent) {
			return
		}
		if u.heeds > 0 {
			<-heeded
		}
		u.say(conn, u.ends)
	}()
	for {
		f, err := readFrame(conn.br)
		switch {
		case err != nil:
			o.cut = errors.Is(err, io.ErrUnexpectedEOF)
			return o
		case o.close != "":
			o.after++
		case f.op == opClose:
			o.close = fmt.Sprint(f.closeCode(), " ", describe(f))
			heed()
			<-said
			_ = conn.closeWrite()
		default:
			o.frames = append(o.frames, describe(f))
			o.heard = append(o.heard, ear.hear(f)...)
			if len(o.heard) >= u.heeds {
				heed()
			}
		}
	}
}

// say reports whether all could be written.
func (u utterance) say(conn *wsConn, p []byte) bool {
	size := u.chop
	if size == 0 {
		size = max(len(p), 1)
	}
	for piece := range slices.Chunk(p, size) {
		if _, err := conn.w.Write(piece); err != nil {
			return false
		}
	}
	return true
}

// header is that of the handshake.
func (u utterance) header() http.Header {
	if u.offer == "" {
		return nil
	}
	return http.Header{"Sec-WebSocket-Extensions": {u.offer}}
}

// judge compares what a client got through a gateway with what it got without one.
func (u utterance) judge(got, direct outcome, strict bool) error {
	switch {
	case u.code == 0, !strict && !u.endless:
		if !got.equal(direct) {
			return fmt.Errorf("got %v\nand without the gateway %v", got, direct)
		}
	case !strings.HasPrefix(got.close, fmt.Sprint(u.code, " ")) || got.after > 0 || got.cut:
		return fmt.Errorf("got %v, want to be closed with %d", got, u.code)
	case len(got.frames) > len(direct.frames) || !slices.Equal(got.frames, direct.frames[:len(got.frames)]):
		return fmt.Errorf("got %v, which is not what comes first without the gateway: %v", got, direct)
	}
	return nil
}

// judgeHandled is judge for a gateway that puts messages together, and closes for what is
// wrong by itself.
func (u utterance) judgeHandled(got, direct outcome) error {
	code, _, _ := strings.Cut(direct.close, " ")
	if u.code != 0 {
		code = fmt.Sprint(u.code)
	}
	if strings.Contains(u.name, "not UTF-8") { // which coder/websocket does not mind
		code = "1007"
	}
	remembers := strings.Contains(u.name, "compression") && !strings.Contains(u.offer, "client_no_context_takeover")
	switch {
	case remembers && strings.Contains(u.name, "three"): // it is told not to refer to what it has sent, and does
	case !strings.HasPrefix(got.close, code+" ") || got.after > 0 || got.cut:
		return fmt.Errorf("got %v, want to be closed with %s", got, code)
	case code == "1000" && !slices.Equal(got.heard, direct.heard):
		return fmt.Errorf("heard %v\nand without the gateway %v", got.heard, direct.heard)
	case len(got.heard) > len(direct.heard) || !slices.Equal(got.heard, direct.heard[:len(got.heard)]):
		return fmt.Errorf("heard %v, which is not what comes first without the gateway: %v", got.heard, direct.heard)
	}
	return nil
}

// suits reports whether a server that holds to the RFC took the utterance for what it is
// meant to be.
func (u utterance) suits(direct outcome) bool {
	if u.code == 0 || u.lax || u.endless {
		return direct.close != ""
	}
	return strings.HasPrefix(direct.close, fmt.Sprint(u.code, " "))
}

// server is one of another project that sends every message back.
type server struct {
	addr  string
	exact bool      // it holds to the RFC, and breaks over nothing
	over  []carrier // by which it is spoken to through the gateway, by turns
}

// compare says everything to a server, and to the gateway before it.
func (s server) compare(t *testing.T, g *gateway, judge func(u utterance, got, direct outcome) error) {
	t.Helper()
	compareOne := func(u utterance, c carrier) error {
		a, err := dialAt(s.addr, "/ws", u.header())
		if err != nil || a.conn == nil {
			return fmt.Errorf("handshake without the gateway: status %d, %w", a.status, err)
		}
		direct := u.utter(a.conn)
		if s.exact && !u.suits(direct) {
			return fmt.Errorf("without the gateway %v, want %d", direct, u.code)
		}
		a, err = c.try(g, "/ws", u.header())
		if err != nil || a.conn == nil {
			return fmt.Errorf("handshake: status %d, %w", a.status, err)
		}
		return judge(u, u.utter(a.conn), direct)
	}
	var turns sync.WaitGroup
	free := make(chan struct{}, 8)
	for i, u := range utterances() {
		if u.breaks && !s.exact {
			continue
		}
		free <- struct{}{}
		turns.Go(func() {
			defer func() { <-free }()
			c := s.over[i%len(s.over)]
			if err := compareOne(u, c); err != nil {
				t.Errorf("%s: over %s: %v", u.name, c.name, err)
			}
		})
	}
	turns.Wait()
}

// TestConformanceIsThatOfTheServer has the gateway stand before two servers of other
// projects: a client is told what the server would tell it. A gateway that is strict
// may be the one to tell, and says what the RFC says.
func TestConformanceIsThatOfTheServer(t *testing.T) {
	long(t)
	for name, begin := range map[string]func(*testing.T) server{
		"npm ws": func(t *testing.T) server {
			port := startNode(t, "echo-server.mjs").await(t, "listening").Port
			return server{fmt.Sprint("127.0.0.1:", port), true, []carrier{overWS, overWSS, overH2}}
		},
		"coder/websocket": func(t *testing.T) server {
			return server{libraryEcho(t), false, []carrier{overWS}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := begin(t)
			for options, judge := range map[string]func(u utterance, got, direct outcome) error{
				"":                       func(u utterance, got, direct outcome) error { return u.judge(got, direct, false) },
				"strict":                 func(u utterance, got, direct outcome) error { return u.judge(got, direct, true) },
				"messages {\n trial\n }": utterance.judgeHandled,
				"messages {\n }":         utterance.judgeHandled,
			} {
				t.Run("ws_gateway "+options, func(t *testing.T) {
					s.compare(t, start(t, "ws_gateway "+s.addr+" {\n "+options+"\n }"), judge)
				})
			}
		})
	}
}

// join makes one piece of what is sent.
func join(pieces ...[]byte) []byte { return bytes.Join(pieces, nil) }
