package assembly

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
	"github.com/wsgateway/caddy-ws-gateway/messages"
)

func write(t testing.TB, c net.Conn, frames ...[]byte) {
	t.Helper()
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.Write(bytes.Join(frames, nil)); err != nil {
		t.Errorf("writing: %v", err)
	}
}

func closing(code int, reason string, masked bool) []byte {
	return wsframe.AppendClose(nil, code, reason, masked)
}

// rest returns what comes until the stream ends, or a close frame, and what that says.
func rest(t testing.TB, c net.Conn, masked bool) (said []told, code int) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	var all []byte
	var s wsframe.Scanner
	p := make([]byte, 4096)
	for !s.Closed() {
		n, err := c.Read(p)
		s.Scan(p[:n])
		all = append(all, p[:n]...)
		if err != nil {
			break
		}
	}
	said, _, _ = readStream(t, all, masked)
	if n := len(said); n > 0 && said[n-1].op == 8 {
		return said[:n-1], closeOf([]byte(said[n-1].payload)).Code
	}
	return said, 0
}

func wantSaid(t testing.TB, got []told, want ...string) {
	t.Helper()
	var texts []string
	for _, m := range got {
		texts = append(texts, m.payload)
	}
	if strings.Join(texts, "|") != strings.Join(want, "|") {
		t.Errorf("received %.200q, want %.200q", texts, want)
	}
}

var chainsOfAllKinds = map[string][2]Chain{"streams": {}, "assembled": both(time.Minute, handlerFunc(pass))}

func TestWhatIsOnItsWayArrivesAfterACloseFrame(t *testing.T) {
	t.Parallel()
	for how, chains := range chainsOfAllKinds {
		t.Run(how+", from the client", func(t *testing.T) {
			t.Parallel()
			f := start(t, setup{chains: chains, raw: true})
			write(t, f.rawClient, frame(0x01, "half", true), closing(4001, "", true))
			if _, code := rest(t, f.rawUpstream, true); code != 4001 {
				t.Errorf("the upstream is told %d", code)
			}
			write(t, f.rawUpstream, frame(0x81, "one", false), frame(0x01, "t", false), frame(0x80, "wo", false), closing(4002, "", false))
			said, code := rest(t, f.rawClient, false)
			wantSaid(t, said, "one", "two")
			if o := f.end(t); code != 4002 || o.Code != 4001 || o.By != relay.Client {
				t.Errorf("the client is told %d, and the outcome is %+v", code, o)
			}
		})
		t.Run(how+", from the upstream", func(t *testing.T) {
			t.Parallel()
			f := start(t, setup{chains: chains, raw: true})
			write(t, f.rawUpstream, frame(0x01, "half", false), closing(4002, "", false))
			if _, code := rest(t, f.rawClient, false); code != 4002 {
				t.Errorf("the client is told %d", code)
			}
			write(t, f.rawClient, frame(0x81, "one", true), frame(0x81, "two", true), closing(4001, "", true))
			said, code := rest(t, f.rawUpstream, true)
			wantSaid(t, said, "one", "two")
			if o := f.end(t); code != 4001 || o.FromClient.Messages != 2 {
				t.Errorf("the upstream is told %d, and the outcome is %+v", code, o)
			}
		})
	}
}

func TestUpstreamThatLeavesWithoutACloseFrame(t *testing.T) {
	t.Parallel()
	for how, chains := range chainsOfAllKinds {
		for name, last := range map[string][]byte{
			"between messages": nil, "within a message": frame(0x01, "half", false), "within a frame": header(0x81, 1<<17, false), "within a header": {0x81},
		} {
			t.Run(how+", "+name, func(t *testing.T) {
				t.Parallel()
				f := start(t, setup{chains: chains, raw: true})
				write(t, f.rawUpstream, frame(0x81, "one", false), last)
				_ = f.rawUpstream.(*net.TCPConn).CloseWrite()
				said, code := rest(t, f.rawClient, false)
				wantSaid(t, said, "one")
				_ = f.rawClient.Close()
				if o := f.end(t); code != 1012 || o.By != relay.Upstream || o.Code != 1012 {
					t.Errorf("the client is told %d, and the outcome is %+v", code, o)
				}
			})
		}
	}
}

// TestAnswersDoNotWaitForAnUpstreamThatHasGone has a client send for which answers are
// made that nobody takes any more.
func TestAnswersDoNotWaitForAnUpstreamThatHasGone(t *testing.T) {
	t.Parallel()
	reply := handlerFunc(func(*messages.Message) (messages.Verdict, error) {
		return messages.Reply(messages.Binary, make([]byte, 10000)), nil
	})
	conn, _ := newAlone(t, Config{Upstream: &scripted{}, Chains: both(0, reply)})
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("read %v", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 {
			_, _ = conn.Write(frame(0x81, "hello", true))
		}
	}()
	select {
	case <-done:
	case <-patient(t).Done():
		t.Error("an answer waits for nobody")
		_ = conn.Close()
		<-done
	}
}

func TestWhatCameBeforeAFaultArrives(t *testing.T) {
	t.Parallel()
	for how, chains := range chainsOfAllKinds {
		for name, bad := range map[string]struct {
			first   byte
			payload string
			code    int
		}{"protocol": {0x83, "", 1002}, "no text": {0x81, "\xff", 1007}, "close frame": {0x88, "x", 1002}} {
			t.Run(how+", "+name, func(t *testing.T) {
				t.Parallel()
				f := start(t, setup{chains: chains, raw: true})
				sent := writing(t, f.rawUpstream, bytes.Join([][]byte{frame(0x81, "one", false), frame(0x81, long, false), frame(bad.first, bad.payload, false), frame(0x81, "lost", false)}, nil))
				upstream := make(chan int, 1)
				go func() {
					_, code := rest(t, f.rawUpstream, true)
					<-sent
					_ = f.rawUpstream.Close()
					upstream <- code
				}()
				_ = f.rawClient.SetReadDeadline(time.Now().Add(patience))
				got := readUntilClose(t, f.rawClient)
				said, _, _ := readStream(t, got, false)
				n := len(said) - 1
				wantSaid(t, said[:n], "one", long)
				if code := closeOf([]byte(said[n].payload)).Code; code != 1001 {
					t.Errorf("the client is told %d", code)
				}
				write(t, f.rawClient, closing(1001, "", true))
				if o := f.end(t); o.Code != bad.code || o.By != relay.Gateway {
					t.Errorf("ended with %+v", o)
				}
				if code := <-upstream; code != bad.code {
					t.Errorf("the upstream is told %d, want %d", code, bad.code)
				}
			})
		}
	}
}

func readUntilClose(t testing.TB, c net.Conn) (all []byte) {
	t.Helper()
	var s wsframe.Scanner
	p := make([]byte, 4096)
	for !s.Closed() {
		n, err := c.Read(p)
		s.Scan(p[:n])
		all = append(all, p[:n]...)
		if err != nil {
			t.Fatalf("the stream ends without a close frame: %v", err)
		}
	}
	return all
}

// TestStreamIsFollowedInOrderBehindAFault has the close frame of an upstream found behind
// a message that was refused.
func TestStreamIsFollowedInOrderBehindAFault(t *testing.T) {
	t.Parallel()
	refuse := handlerFunc(func(*messages.Message) (messages.Verdict, error) { return messages.Close(1008, ""), nil })
	stream := append(frame(0x81, "refused", false), closing(4000, "bye", false)...)
	got := passThrough(t, messages.FromUpstream, Config{Chains: both(0, refuse)}, [][]byte{stream[:len(stream)-3], stream[len(stream)-3:]})
	if len(got.rejected) != 1 || len(got.said) != 1 || got.said[0] != (told{8, "\x0f\xa0bye"}) {
		t.Errorf("rejected with %v, then %q", got.rejected, got.said)
	}
}

func TestGatewayEndsTheConnection(t *testing.T) {
	t.Parallel()
	for how, chains := range chainsOfAllKinds {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			f := start(t, setup{chains: chains})
			exchange(t, f.client, f.upstream, websocket.MessageText, "hello")
			f.relay.End(relay.Close{Code: 1008, Reason: "revoked"}, relay.Close{Code: 1001, Reason: "gone"})
			codes := closes(t, f.upstream)
			if code, reason := closed(t, f.client); code != 1008 || reason != "revoked" {
				t.Errorf("the client is told %d %q", code, reason)
			}
			if code := <-codes; code != 1001 {
				t.Errorf("the upstream is told %d", code)
			}
			f.end(t)
		})
	}
}

// keeper keeps something for each connection.
type keeper struct {
	opened *[]*kept
	fails  bool
	panics bool
}

type kept struct {
	seen   [2]int
	closed atomic.Int32
}

func (k *kept) HandleMessage(m *messages.Message) (messages.Verdict, error) {
	k.seen[m.Direction]++
	return messages.Pass, nil
}

func (k *kept) Close() error {
	k.closed.Add(1)
	panic("closing fails")
}

func (keeper) HandleMessage(*messages.Message) (messages.Verdict, error) {
	return messages.Pass, errors.New("not opened")
}

func (k keeper) Open(*messages.Connection) (messages.Handler, error) {
	if k.fails {
		return nil, errors.New("no")
	}
	if k.panics {
		panic("opening fails")
	}
	own := new(kept)
	*k.opened = append(*k.opened, own)
	return own, nil
}

func TestHandlersThatKeepSomething(t *testing.T) {
	t.Parallel()
	var opened []*kept
	f := start(t, setup{chains: both(0, keeper{opened: &opened}, keeper{opened: &opened}), impatient: true})
	for range 3 {
		exchange(t, f.client, f.upstream, websocket.MessageText, "hello")
	}
	exchange(t, f.upstream, f.client, websocket.MessageText, "hello")
	if opened[0].closed.Load() != 0 {
		t.Error("closed while the connection lives")
	}
	_ = f.client.CloseNow()
	f.end(t)
	if len(opened) != 2 {
		t.Fatalf("opened %d times", len(opened))
	}
	for _, k := range opened {
		if k.seen != [2]int{3, 1} || k.closed.Load() != 1 {
			t.Errorf("has seen %v and was closed %d times", k.seen, k.closed.Load())
		}
	}
}

func TestHandlerThatCannotPrepare(t *testing.T) {
	t.Parallel()
	var opened []*kept
	conn, err := New(Config{Upstream: &scripted{}, Connection: &messages.Connection{}, Chains: both(0, keeper{opened: &opened}, keeper{fails: true})})
	var e *OpenError
	if !errors.As(err, &e) || e.Handler != "test" {
		t.Fatalf("the error is %v", err)
	}
	_ = conn.Close()
	conn.Finish()
	conn.Finish()
	if len(opened) != 1 || opened[0].closed.Load() != 1 {
		t.Errorf("%d are prepared, and not closed once", len(opened))
	}
}

func TestHandlerThatPanicsLeavesNothingOfThoseBefore(t *testing.T) {
	t.Parallel()
	var opened []*kept
	func() {
		defer func() { _ = recover() }()
		_, _ = New(Config{Upstream: &scripted{}, Connection: &messages.Connection{}, Chains: both(0, keeper{opened: &opened}, keeper{panics: true})})
		t.Error("it did not panic")
	}()
	if len(opened) != 1 || opened[0].closed.Load() != 1 {
		t.Errorf("%d are prepared, and not closed once", len(opened))
	}
}

// panicking is a conn that nothing can be written to.
type panicking struct{ net.Conn }

func (panicking) Write([]byte) (int, error) { panic("writing fails") }

func TestPongThatPanicsEndsItsConnection(t *testing.T) {
	t.Parallel()
	f := start(t, setup{chains: both(0, handlerFunc(pass)), raw: true, impatient: true, wrap: func(c net.Conn) relay.Conn { return panicking{c} }})
	if _, err := f.rawUpstream.Write(wsframe.AppendFrame(nil, wsframe.Ping, true, false, []byte("there?"), false)); err != nil {
		t.Fatal(err)
	}
	if o := f.end(t); o.Code == 0 {
		t.Errorf("ended with %+v", o)
	}
}
