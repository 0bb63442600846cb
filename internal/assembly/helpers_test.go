package assembly

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// handlerFunc is a handler that is a function.
type handlerFunc func(m *messages.Message) (messages.Verdict, error)

func (f handlerFunc) HandleMessage(m *messages.Message) (messages.Verdict, error) { return f(m) }

// blind is a handler that needs no payload.
type blind struct{ handlerFunc }

func (blind) IgnoresPayload() bool { return true }

func pass(*messages.Message) (messages.Verdict, error) { return messages.Pass, nil }

func chainOf(budget time.Duration, handlers ...messages.Handler) Chain {
	step := Step{Budget: budget}
	for _, h := range handlers {
		step.Handlers = append(step.Handlers, &Handler{h, "test"})
	}
	return Chain{step}
}

// reports collects what a Reporter is told.
type reports struct {
	mu       sync.Mutex
	decided  []messages.Kind
	failed   []error
	panicked int
}

func (r *reports) Decided(_ *messages.Connection, _ messages.Direction, kind messages.Kind) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.decided = append(r.decided, kind)
}

func (r *reports) Failed(_ *messages.Connection, _ messages.Direction, _ string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = append(r.failed, err)
}

func (r *reports) Panicked(*messages.Connection, messages.Direction, string, *panics.Panic) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.panicked++
}

// fixture is a client and an upstream, each of coder/websocket, with a relay and a Conn
// between them.
type fixture struct {
	reports
	client, upstream       *websocket.Conn
	rawClient, rawUpstream net.Conn
	relay                  *relay.Relay
	outcome                chan relay.Outcome
}

// setup says how a fixture is made.
type setup struct {
	chains         [2]Chain
	most           int
	deflateClient  bool
	deflateServer  bool
	takeoverServer bool
	policy         relay.Policy
	raw            bool // no client and no upstream but the bare conns
	small          bool // the kernel holds little of what passes
	impatient      bool // a side that does not answer a close frame is not waited for
	wrap           func(net.Conn) relay.Conn
}

func pair(t testing.TB) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			close(accepted)
			return
		}
		accepted <- c
	}()
	near, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far = <-accepted
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return near, far
}

// holdLittle has the kernel hold some hundred KB for a conn in either direction.
func holdLittle(t testing.TB, c net.Conn) {
	t.Helper()
	tcp := c.(*net.TCPConn) //nolint:forcetypeassert // pair makes no other
	if err := errors.Join(tcp.SetReadBuffer(64<<10), tcp.SetWriteBuffer(64<<10)); err != nil {
		t.Fatal(err)
	}
}

func start(t testing.TB, s setup) *fixture {
	t.Helper()
	f := &fixture{outcome: make(chan relay.Outcome, 1)}
	clientFar, clientNear := pair(t)
	serverNear, serverFar := pair(t)
	f.rawClient, f.rawUpstream = clientFar, serverFar
	if s.small {
		for _, c := range []net.Conn{clientFar, clientNear, serverNear, serverFar} {
			holdLittle(t, c)
		}
	}
	var d [2]handshake.Deflate
	if s.deflateClient {
		d[0] = handshake.Deflate{Agreed: true, Bits: 15}
	}
	if s.deflateServer {
		d[1] = handshake.Deflate{Agreed: true, Bits: 15, Takeover: s.takeoverServer}
	}
	upstream := relay.Conn(serverNear)
	if s.wrap != nil {
		upstream = s.wrap(serverNear)
	}
	conn, err := New(Config{
		Upstream: upstream, Connection: &messages.Connection{ID: "c1"}, Chains: s.chains, Reporter: f,
		Client: d[0], Server: d[1], MessageSize: s.most, WriteTimeout: patience,
	})
	if err != nil {
		t.Fatal(err)
	}
	reserved := byte(0)
	if s.deflateClient {
		reserved = 0x40
	}
	closeTimeout := patience
	if s.impatient {
		closeTimeout = time.Second
	}
	r := relay.New(relay.Config{Client: clientNear, Upstream: conn, Policy: &s.policy, ReservedBits: reserved, Assembled: true, WriteTimeout: patience, CloseTimeout: closeTimeout})
	conn.Bind(r)
	f.relay = r
	r.Start(func(o relay.Outcome) {
		conn.Finish()
		f.outcome <- o
	})
	if s.raw {
		return f
	}
	f.client = dialCoder(t, clientFar, s.deflateClient)
	f.upstream = acceptCoder(t, serverFar, s.deflateServer, s.takeoverServer)
	return f
}

// upgradedBody makes coder/websocket a client over a conn.
type upgradedBody struct{ net.Conn }

type upgradeTrip struct {
	conn    net.Conn
	deflate bool
}

func (u upgradeTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	h := http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Accept": {handshake.Accept(r.Header.Get("Sec-Websocket-Key"))}}
	if u.deflate {
		h["Sec-Websocket-Extensions"] = []string{"permessage-deflate; client_no_context_takeover; server_no_context_takeover"}
	}
	return &http.Response{StatusCode: http.StatusSwitchingProtocols, Header: h, Body: upgradedBody{u.conn}}, nil
}

func dialCoder(t testing.TB, conn net.Conn, deflate bool) *websocket.Conn {
	t.Helper()
	mode := websocket.CompressionDisabled
	if deflate {
		mode = websocket.CompressionNoContextTakeover
	}
	c, _, err := websocket.Dial(t.Context(), "http://example.com/", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: upgradeTrip{conn, deflate}}, CompressionMode: mode, CompressionThreshold: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadLimit(-1)
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

// acceptedWriter makes coder/websocket a server over a conn.
type acceptedWriter struct {
	conn   net.Conn
	header http.Header
}

func (w acceptedWriter) Header() http.Header       { return w.header }
func (acceptedWriter) WriteHeader(int)             {}
func (acceptedWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w acceptedWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

func acceptCoder(t testing.TB, conn net.Conn, deflate, takeover bool) *websocket.Conn {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://example.com/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {handshake.NewKey()}}
	mode := websocket.CompressionDisabled
	if deflate {
		mode = websocket.CompressionNoContextTakeover
		r.Header["Sec-Websocket-Extensions"] = []string{"permessage-deflate; server_no_context_takeover; client_no_context_takeover"}
		if takeover {
			mode = websocket.CompressionContextTakeover
			r.Header["Sec-Websocket-Extensions"] = []string{"permessage-deflate; client_no_context_takeover"}
		}
	}
	c, err := websocket.Accept(acceptedWriter{conn, http.Header{}}, r, &websocket.AcceptOptions{CompressionMode: mode, CompressionThreshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadLimit(-1)
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

const patience = 2 * time.Minute

func patient(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func send(t testing.TB, c *websocket.Conn, kind websocket.MessageType, payload string) {
	t.Helper()
	if err := c.Write(patient(t), kind, []byte(payload)); err != nil {
		t.Errorf("sending: %v", err)
	}
}

func receive(t testing.TB, c *websocket.Conn, kind websocket.MessageType, want string) {
	t.Helper()
	got, payload, err := c.Read(patient(t))
	if err != nil {
		t.Fatalf("receiving: %v", err)
	}
	if got != kind || string(payload) != want {
		t.Fatalf("received %v %s, want %v %s", got, short(payload), kind, short([]byte(want)))
	}
}

// exchange sends a message, and receives it on the other side. Both are over when it
// returns: a large message is only sent while it is received.
func exchange(t testing.TB, from, to *websocket.Conn, kind websocket.MessageType, payload string) {
	t.Helper()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		send(t, from, kind, payload)
	}()
	receive(t, to, kind, payload)
	<-sent
}

func short(p []byte) string {
	if len(p) > 60 {
		return string(p[:60]) + "…"
	}
	return string(p)
}

// closed returns the code and the reason with which the conn is closed.
func closed(t testing.TB, c *websocket.Conn) (websocket.StatusCode, string) {
	t.Helper()
	for {
		_, _, err := c.Read(patient(t))
		if err == nil {
			continue
		}
		var e websocket.CloseError
		if !asClose(err, &e) {
			t.Errorf("ended by %v, not by a close frame", err)
			return 0, ""
		}
		return e.Code, e.Reason
	}
}

// closes returns the code with which the conn is closed, once it is.
func closes(t testing.TB, c *websocket.Conn) <-chan websocket.StatusCode {
	t.Helper()
	codes := make(chan websocket.StatusCode, 1)
	go func() {
		code, _ := closed(t, c)
		codes <- code
	}()
	return codes
}

func (f *fixture) end(t testing.TB) relay.Outcome {
	t.Helper()
	select {
	case o := <-f.outcome:
		return o
	case <-patient(t).Done():
		t.Fatal("the relay has not ended")
		panic("unreachable")
	}
}

func readAll(t testing.TB, c net.Conn, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read %x (%v), want %x", got[:n], err, want)
	}
}

var long = strings.Repeat("all work and no play makes Jack a dull boy. ", 5000)

// closeOf is what a close frame says.
func closeOf(payload []byte) relay.Close {
	if len(payload) < 2 {
		return relay.Close{Code: wsframe.NoStatus}
	}
	return relay.Close{Code: int(binary.BigEndian.Uint16(payload)), Reason: string(payload[2:])}
}
