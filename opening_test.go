package wsgateway

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
)

// opening opens connections through a handler, one after another, over sockets of the
// loopback interface. Server, client and upstream allocate little of their own.
type opening struct {
	tb       testing.TB
	h        *Handler
	clients  net.Listener
	upstream net.Listener
	answered [1 << 10]byte
}

func newOpening(tb testing.TB, auth *Auth) *opening {
	tb.Helper()
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = l.Close() })
		return l
	}
	o := &opening{tb: tb, clients: listen(), upstream: listen()}
	go o.answer()
	ctx, err := caddy.ProvisionContext(&caddy.Config{Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{
		"default": {BaseLog: caddy.BaseLog{WriterRaw: json.RawMessage(`{"output": "discard"}`)}},
	}}})
	if err != nil {
		tb.Fatal(err)
	}
	o.h = &Handler{Name: "opening", Auth: auth, Proxy: &reverseproxy.Handler{
		Upstreams: reverseproxy.UpstreamPool{{Dial: o.upstream.Addr().String()}},
	}}
	if err := o.h.Provision(ctx); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = o.h.Cleanup() })
	return o
}

// answer is the upstream. It takes one handshake after another, and answers the close
// frame of each connection.
func (o *opening) answer() {
	const field = "Sec-WebSocket-Key: "
	head := make([]byte, 4<<10)
	for {
		conn, err := o.upstream.Accept()
		if err != nil {
			return
		}
		n, _ := conn.Read(head)
		at := bytes.Index(head[:n], []byte(field)) + len(field)
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Accept: "+handshake.Accept(string(head[at:at+24]))+"\r\n\r\n")
		_, _ = conn.Read(head)
		_, _ = io.WriteString(conn, "\x88\x02\x03\xe8")
		_ = conn.Close()
	}
}

// prepare makes what a server has when it calls its handler.
func (o *opening) prepare() (*hijacked, *http.Request) {
	client, err := net.Dial("tcp", o.clients.Addr().String())
	if err != nil {
		o.tb.Fatal(err)
	}
	conn, err := o.clients.Accept()
	if err != nil {
		o.tb.Fatal(err)
	}
	w := &hijacked{client: client, conn: conn, header: make(http.Header)}
	w.recorded = caddyhttp.NewResponseRecorder(w, nil, nil)
	r, _ := http.NewRequest(http.MethodGet, "http://localhost/chat", nil)
	r.RequestURI, r.RemoteAddr = "/chat", "192.0.2.1:4711"
	r.Header = http.Header{
		"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Authorization": {"Bearer " + testToken},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	return w, caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, new(caddyhttp.Server))
}

// open opens a connection and closes it.
func (o *opening) open() {
	w, r := o.prepare()
	if err := o.h.ServeHTTP(w.recorded, r, nil); err != nil {
		o.tb.Fatal(err)
	}
	n, _ := w.client.Read(o.answered[:])
	if !bytes.HasPrefix(o.answered[:n], []byte("HTTP/1.1 101 ")) {
		o.tb.Fatalf("the answer is %q", o.answered[:n])
	}
	_, _ = io.WriteString(w.client, "\x88\x82\x00\x00\x00\x00\x03\xe8")
	for n > 0 {
		n, _ = w.client.Read(o.answered[:])
	}
	_ = w.client.Close()
}

// hijacked is the writer of a server over HTTP/1.1, as far as a handshake needs it.
type hijacked struct {
	client, conn net.Conn
	header       http.Header
	recorded     http.ResponseWriter // the same with Caddy's recorder around it
}

// Header implements http.ResponseWriter.
func (w *hijacked) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *hijacked) WriteHeader(int) {}

// Write implements http.ResponseWriter.
func (w *hijacked) Write([]byte) (int, error) { return 0, http.ErrHijacked }

// Flush implements http.Flusher: the server answers, since this writer is not net/http's.
func (w *hijacked) Flush() {
	_, _ = io.WriteString(w.conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
}

// Hijack implements http.Hijacker.
func (w *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, nothingRead, nil
}

// nothingRead is what a server has read ahead of a connection.
var nothingRead = bufio.NewReadWriter(bufio.NewReader(nil), bufio.NewWriter(io.Discard))

func tokenOfAlice() *Auth {
	return &Auth{Bearer: []BearerToken{{Token: testToken, UserID: "alice"}}}
}

func BenchmarkOpening(b *testing.B) {
	o := newOpening(b, tokenOfAlice())
	b.ReportAllocs()
	for b.Loop() {
		o.open()
	}
}

// TestOpeningAllocatesLittle is for whoever adds to what each handshake costs: a storm of
// them is when it hurts, and nothing else would show it. What the server and the peers of
// the test allocate themselves is taken off; the rest goes with what the gateway keeps of
// a connection, the request that it makes for the upstream, the answer, and the lines in
// the log. The bound leaves room for pools that the collector has emptied.
func TestOpeningAllocatesLittle(t *testing.T) {
	const most = 85
	o := newOpening(t, tokenOfAlice())
	all := testing.AllocsPerRun(300, o.open)
	others := testing.AllocsPerRun(300, func() {
		w, _ := o.prepare()
		_, _ = w.client.Close(), w.conn.Close()
	})
	if got := all - others; got > most {
		t.Errorf("a connection takes %.0f allocations, want %d at most", got, most)
	}
}

// TestPanicBeforeTheUpgradeLeavesNothingOpen has a placeholder of somebody else's panic
// once the upstream has answered. The upstream takes the next handshake when it is hung up
// on.
func TestPanicBeforeTheUpgradeLeavesNothingOpen(t *testing.T) {
	o := newOpening(t, nil)
	w, r := o.prepare()
	replacerOf(r).Map(func(name string) (any, bool) {
		if name == "somebody.elses" {
			panic("in a module")
		}
		return nil, false
	})
	o.h.messages = &messageChains{placeholders: []string{"somebody.elses"}}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("it did not come to a panic")
			}
		}()
		_ = o.h.ServeHTTP(w.recorded, r, nil)
	}()
	if live := process.Ledger.Look(o.upstream.Addr().String()).Live; live != 0 {
		t.Errorf("%d places are taken", live)
	}
	o.h.messages = nil
	o.open()
}

// Interface guards
var (
	_ http.ResponseWriter = (*hijacked)(nil)
	_ http.Flusher        = (*hijacked)(nil)
	_ http.Hijacker       = (*hijacked)(nil)
)
