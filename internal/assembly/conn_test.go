package assembly

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
	"github.com/wsgateway/caddy-ws-gateway/messages"
)

func asClose(err error, e *websocket.CloseError) bool { return errors.As(err, e) }

func both(budget time.Duration, handlers ...messages.Handler) [2]Chain {
	c := chainOf(budget, handlers...)
	return [2]Chain{c, c}
}

func TestMessagesPassBothWays(t *testing.T) {
	t.Parallel()
	chains := map[string][2]Chain{"assembled": both(time.Minute, handlerFunc(pass)), "as they come": both(time.Minute, blind{pass}), "empty": {}}
	for how, chain := range chains {
		for i := range 8 {
			s := setup{chains: chain, deflateClient: i&1 > 0, deflateServer: i&2 > 0, takeoverServer: i&6 == 6}
			if i&6 == 4 {
				continue
			}
			t.Run(fmt.Sprintf("%s, client %t, upstream %t, takeover %t", how, s.deflateClient, s.deflateServer, s.takeoverServer), func(t *testing.T) {
				t.Parallel()
				f := start(t, s)
				for _, m := range []string{"", "hello", "grüße", long[:1000], long, long[:511], "last"} {
					for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
						exchange(t, f.client, f.upstream, kind, m)
						exchange(t, f.upstream, f.client, kind, m)
					}
				}
				told := closes(t, f.upstream)
				if err := f.client.Close(4001, "bye"); err != nil {
					t.Errorf("closing: %v", err)
				}
				if code := <-told; code != 4001 {
					t.Errorf("the upstream is told %d", code)
				}
				if o := f.end(t); o.By != relay.Client || o.Code != 4001 || o.Reason != "bye" || o.FromClient.Messages != 14 || o.FromUpstream.Messages != 14 {
					t.Errorf("ended with %+v", o)
				}
			})
		}
	}
}

func TestHandlersDecide(t *testing.T) {
	t.Parallel()
	h := handlerFunc(func(m *messages.Message) (messages.Verdict, error) {
		switch text := string(m.Payload); {
		case text == "drop":
			return messages.Drop(), nil
		case m.Conn.ID != "c1":
			return messages.Pass, errors.New("another connection")
		case text == "ping":
			return messages.Reply(messages.Text, []byte("pong from "+m.Direction.String())), nil
		case strings.HasPrefix(text, "shout "):
			m.Payload = bytes.ToUpper(m.Payload[6:])
		case text == "binary":
			m.Type, m.Payload = messages.Binary, []byte{0xFF}
		}
		return messages.Pass, nil
	})
	f := start(t, setup{chains: both(0, h), deflateClient: true, impatient: true})
	for _, way := range [][2]*websocket.Conn{{f.client, f.upstream}, {f.upstream, f.client}} {
		from, to := way[0], way[1]
		for range 3 {
			send(t, from, websocket.MessageText, "drop")
			send(t, from, websocket.MessageText, "ping")
			send(t, from, websocket.MessageText, "shout hello")
			send(t, from, websocket.MessageText, "binary")
			receive(t, to, websocket.MessageText, "HELLO")
			receive(t, to, websocket.MessageBinary, "\xFF")
		}
		direction := "from_client"
		if from == f.upstream {
			direction = "from_upstream"
		}
		for range 3 {
			receive(t, from, websocket.MessageText, "pong from "+direction)
		}
	}
	_ = f.client.CloseNow()
	f.end(t)
	if len(f.decided) != 12 {
		t.Errorf("told of %v", f.decided)
	}
}

// handlersEnd is how a handler ends a connection, and what comes of that.
type handlersEnd struct {
	handle           handlerFunc
	budget           time.Duration
	client, upstream [2]websocket.StatusCode // by who sends
	panics, fails    int
}

func handlersEnds() map[string]handlersEnd {
	return map[string]handlersEnd{
		"close": {
			handle: func(*messages.Message) (messages.Verdict, error) { return messages.Close(1008, "no"), nil },
			client: [2]websocket.StatusCode{1008, 1008}, upstream: [2]websocket.StatusCode{1001, 1008},
		},
		"error": {
			handle: func(*messages.Message) (messages.Verdict, error) { return messages.Pass, errors.New("no") },
			client: [2]websocket.StatusCode{1011, 1011}, upstream: [2]websocket.StatusCode{1011, 1011}, fails: 1,
		},
		"panic": {
			handle: func(m *messages.Message) (messages.Verdict, error) {
				return messages.Pass, errors.New(string(m.Payload[:1000]))
			},
			client: [2]websocket.StatusCode{1011, 1011}, upstream: [2]websocket.StatusCode{1011, 1011}, panics: 1,
		},
		"wrong text": {
			handle: func(m *messages.Message) (messages.Verdict, error) {
				m.Payload = []byte("\xFF")
				return messages.Pass, nil
			},
			client: [2]websocket.StatusCode{1011, 1011}, upstream: [2]websocket.StatusCode{1011, 1011}, fails: 1,
		},
		"too slow": {
			handle: func(m *messages.Message) (messages.Verdict, error) {
				<-m.Context().Done()
				return messages.Pass, nil // once the test lets it
			},
			budget: time.Second, // in which the first message has to pass
			client: [2]websocket.StatusCode{1011, 1011}, upstream: [2]websocket.StatusCode{1011, 1011}, fails: 1,
		},
	}
}

func TestEndsThatHandlersMake(t *testing.T) {
	t.Parallel()
	for name, tt := range handlersEnds() {
		for sender := range 2 {
			t.Run(fmt.Sprintf("%s, %d", name, sender), func(t *testing.T) {
				t.Parallel()
				told := make(chan struct{})
				release := sync.OnceFunc(func() { close(told) })
				first := handlerFunc(func(m *messages.Message) (messages.Verdict, error) {
					if string(m.Payload) == "first" {
						return messages.Pass, nil
					}
					v, err := tt.handle(m)
					if tt.budget > 0 {
						<-told
					}
					return v, err
				})
				f := start(t, setup{chains: both(tt.budget, first)})
				defer release()
				from, to := f.client, f.upstream
				if sender == 1 {
					from, to = to, from
				}
				exchange(t, from, to, websocket.MessageText, "first")
				send(t, from, websocket.MessageText, "second")
				codes := closes(t, f.upstream)
				if code, _ := closed(t, f.client); code != tt.client[sender] {
					t.Errorf("the client is told %d, want %d", code, tt.client[sender])
				}
				if code := <-codes; code != tt.upstream[sender] {
					t.Errorf("the upstream is told %d, want %d", code, tt.upstream[sender])
				}
				release()
				if o := f.end(t); o.By != relay.Gateway || o.Code != int(tt.client[sender]) {
					t.Errorf("ended with %+v", o)
				}
				if len(f.failed) != tt.fails || f.panicked != tt.panics {
					t.Errorf("told of %v and %d panics", f.failed, f.panicked)
				}
			})
		}
	}
}

func TestClientIsToldWhatItDidWrongBeforeItsCloseFrame(t *testing.T) {
	t.Parallel()
	f := start(t, setup{chains: both(time.Minute, handlerFunc(pass)), raw: true})
	f.upstream = acceptCoder(t, f.rawUpstream, false, false)
	told := closes(t, f.upstream)
	wrong := wsframe.AppendFrame(nil, wsframe.Text, true, false, []byte("\xff"), true)
	if _, err := f.rawClient.Write(wsframe.AppendClose(wrong, 1000, "bye", true)); err != nil {
		t.Fatal(err)
	}
	readAll(t, f.rawClient, wsframe.AppendClose(nil, 1007, "client: text message is not UTF-8", false))
	_ = f.rawClient.Close()
	if code := <-told; code != websocket.StatusGoingAway {
		t.Errorf("the upstream is told %d", code)
	}
	if o := f.end(t); o.By != relay.Gateway || o.Code != 1007 {
		t.Errorf("ended with %+v", o)
	}
}

func TestUpstreamIsToldWhereItsClientLeavesWithinAFrame(t *testing.T) {
	t.Parallel()
	f := start(t, setup{chains: both(time.Minute, handlerFunc(pass)), raw: true})
	f.upstream = acceptCoder(t, f.rawUpstream, false, false)
	half := wsframe.AppendFrame(nil, wsframe.Text, true, false, []byte("a message that is cut"), true)
	if _, err := f.rawClient.Write(half[:15]); err != nil {
		t.Fatal(err)
	}
	_ = f.rawClient.(*net.TCPConn).CloseWrite()
	if code, _ := closed(t, f.upstream); code != websocket.StatusInternalError {
		t.Errorf("the upstream is told %d, want 1011", code)
	}
	if o := f.end(t); o.By != relay.Client || o.Code != 1011 {
		t.Errorf("ended with %+v", o)
	}
}
