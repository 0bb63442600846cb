package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// feeder is an upstream whose answers last: a test feeds each of them, piece by piece,
// and says how it ends. /plain gets an ordinary answer, and so does HEAD.
type feeder struct {
	addr    string
	header  http.Header // of its answers
	answers chan *feed  // in the order of the requests

	mu          sync.Mutex // protects what follows
	asked, live int
}

// feed is an answer that lasts.
type feed struct {
	request *http.Request
	body    string // of the request
	sent    recording
	orders  chan func(w http.ResponseWriter) bool // false: the answer is over
	ended   chan struct{}
}

// newFeeder runs a feeder whose answers have the fields, written as in a header. Without
// any they are event streams.
func newFeeder(t testing.TB, fields ...string) *feeder {
	t.Helper()
	f := &feeder{header: http.Header{"Content-Type": {"text/event-stream"}}, answers: make(chan *feed, 10_000)}
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ": ")
		f.header.Set(name, value)
	}
	ln, err := listenAnew("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr = ln.Addr().String()
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: f, ReadHeaderTimeout: patience, Protocols: &protocols}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { _ = server.Close() }) // which ends the context of every request
	return f
}

func (f *feeder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.note(&f.asked, 1)
	if r.URL.Path == "/plain" {
		_, _ = io.WriteString(w, "plain from "+f.addr)
		return
	}
	f.note(&f.live, 1) // before anyone can know
	defer f.note(&f.live, -1)
	maps.Copy(w.Header(), f.header)
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead || http.NewResponseController(w).Flush() != nil {
		return
	}
	a := &feed{request: r, body: string(body), orders: make(chan func(http.ResponseWriter) bool), ended: make(chan struct{})}
	f.answers <- a
	a.serve(w)
}

func (f *feeder) note(counter *int, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*counter += n
}

// count reads one of the counters.
func (f *feeder) count(counter *int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *counter
}

// named is a name for a gateway before it that no other run in this process has, which goes
// on to count.
func (f *feeder) named(name string) string {
	return name + f.addr[strings.LastIndexByte(f.addr, ':')+1:]
}

// next is the answer to the next request.
func (f *feeder) next(t *testing.T) *feed {
	t.Helper()
	return receive(t, "a request at the upstream", f.answers)
}

// serve obeys until the answer is over, or nobody takes it any more.
func (a *feed) serve(w http.ResponseWriter) {
	defer close(a.ended)
	for {
		select {
		case <-a.request.Context().Done():
			return
		case order := <-a.orders:
			if !order(w) {
				return
			}
		}
	}
}

// order reports whether the answer was still there to obey.
func (a *feed) order(order func(w http.ResponseWriter) bool) bool {
	select {
	case a.orders <- order:
		return true
	case <-a.ended:
		return false
	}
}

// write sends a piece, and reports whether it could be.
func (a *feed) write(piece string) bool {
	written := make(chan bool, 1)
	return a.order(func(w http.ResponseWriter) bool {
		_, _ = a.sent.Write([]byte(piece)) // before it is seen elsewhere
		_, err := io.WriteString(w, piece)
		if err == nil {
			err = http.NewResponseController(w).Flush()
		}
		written <- err == nil
		return err == nil
	}) && <-written
}

// feed is write for what must be taken.
func (a *feed) feed(t *testing.T, piece string) {
	t.Helper()
	if !a.write(piece) {
		t.Fatalf("the upstream could not send %.40q after %d bytes", piece, len(a.sent.bytes()))
	}
}

// finish ends the answer as it should.
func (a *feed) finish() { a.order(func(http.ResponseWriter) bool { return false }) }

// breakOff ends it as a crash does.
func (a *feed) breakOff() { a.order(func(http.ResponseWriter) bool { panic(http.ErrAbortHandler) }) }

// way is a way by which clients ask for streams, each on a connection of its own.
type way struct {
	name   string
	secure bool // over TLS
	proto  string
	via    func(g *gateway) (http.RoundTripper, func()) // and what closes it
	blind  bool                                         // the clients read nothing of an answer
}

var (
	byH1  = way{"h1", false, "HTTP/1.1", viaTCP("http/1.1"), false}
	byTLS = way{"h1 over TLS", true, "HTTP/1.1", viaTCP("http/1.1"), false}
	byH2  = way{"h2", true, "HTTP/2.0", viaTCP("h2"), false}
	byH3  = way{"h3", true, "HTTP/3.0", viaQUIC, false}

	ways = []way{byH1, byTLS, byH2, byH3}
)

func viaTCP(protocol string) func(g *gateway) (http.RoundTripper, func()) {
	return func(*gateway) (http.RoundTripper, func()) {
		var protocols http.Protocols
		protocols.SetHTTP1(protocol == "http/1.1")
		protocols.SetHTTP2(protocol == "h2")
		tr := &http.Transport{TLSClientConfig: clientTLS(protocol), Protocols: &protocols, DisableCompression: true}
		return tr, tr.CloseIdleConnections
	}
}

func viaQUIC(*gateway) (http.RoundTripper, func()) {
	tr := &http3.Transport{
		TLSClientConfig: clientTLS("h3"), DisableCompression: true,
		QUICConfig: patientQUIC(), Dial: dialQUIC,
	}
	return tr, func() { _ = tr.Close() }
}

// question is a request for what may be a stream.
type question struct {
	method, path, body string
	header             http.Header
}

// events asks for events, as EventSource does.
func events(path string, headers ...http.Header) question {
	q := question{method: http.MethodGet, path: path, header: http.Header{"Accept": {"text/event-stream"}}}
	for _, header := range headers {
		maps.Copy(q.header, header)
	}
	return q
}

// follower is a client of an answer that lasts, which reads it as it comes.
type follower struct {
	way    way
	status int
	header http.Header
	got    recording
	leave  func() // breaks it off

	ended chan struct{}
	err   error // once it has ended: nil where that was the proper end of the body
}

// try asks. The answer is read until it ends, or the client leaves.
func (w way) try(g *gateway, q question) (*follower, error) {
	ctx, cancel := context.WithCancel(context.Background())
	url := "http://" + g.httpAddr + q.path
	if w.secure {
		url = "https://" + g.tlsHost() + q.path
	}
	req, err := http.NewRequestWithContext(ctx, q.method, url, strings.NewReader(q.body))
	if err != nil {
		cancel()
		return nil, err
	}
	maps.Copy(req.Header, q.header)
	tripper, shut := w.via(g)
	late := time.AfterFunc(patience, cancel)
	res, err := tripper.RoundTrip(req)
	if !late.Stop() || err != nil {
		cancel()
		shut()
		return nil, errors.Join(err, ctx.Err())
	}
	s := &follower{way: w, status: res.StatusCode, header: res.Header, ended: make(chan struct{})}
	if res.Proto != w.proto {
		err = fmt.Errorf("the answer came by %s", res.Proto)
	}
	go func() {
		defer close(s.ended)
		defer shut()
		defer res.Body.Close()
		if w.blind {
			<-ctx.Done()
		}
		_, s.err = io.Copy(&s.got, res.Body)
	}()
	s.leave = func() {
		cancel()
		<-s.ended
	}
	return s, err
}

// ask is try until the end of the test.
func (w way) ask(t *testing.T, g *gateway, q question) *follower {
	t.Helper()
	s, err := w.try(g, q)
	if err != nil {
		t.Fatalf("%s %s by %s: %v", q.method, q.path, w.name, err)
	}
	t.Cleanup(s.leave)
	return s
}

// follow is ask for what must be answered with 200.
func (w way) follow(t *testing.T, g *gateway, q question) *follower {
	t.Helper()
	s := w.ask(t, g, q)
	if s.status != http.StatusOK {
		<-s.ended
		t.Fatalf("%s %s by %s: %d: %s", q.method, q.path, w.name, s.status, s.got.bytes())
	}
	return s
}

// pair opens a stream by the way, with both its ends. No other may be asked for meanwhile.
func (w way) pair(t *testing.T, g *gateway, f *feeder, q question) (*follower, *feed) {
	t.Helper()
	s := w.follow(t, g, q)
	return s, f.next(t)
}

// await waits until the client has exactly this.
func (s *follower) await(t *testing.T, want string) {
	t.Helper()
	var got string
	if !poll(patience, func() bool {
		got = string(s.got.bytes())
		return len(got) >= len(want)
	}) || got != want {
		t.Fatalf("by %s the client has %d bytes, ending in %q, want %d, ending in %q", s.way.name, len(got), tail(got), len(want), tail(want))
	}
}

// awaitEnd waits for the end, which must be the proper one, and returns what came.
func (s *follower) awaitEnd(t *testing.T) string {
	t.Helper()
	receive(t, "the end of the stream by "+s.way.name, s.ended)
	if s.err != nil {
		t.Errorf("by %s the stream was cut: %v", s.way.name, s.err)
	}
	return string(s.got.bytes())
}

// awaitCut waits for an end that is none of the body.
func (s *follower) awaitCut(t *testing.T) string {
	t.Helper()
	receive(t, "the end of the stream by "+s.way.name, s.ended)
	if s.err == nil {
		t.Errorf("by %s the stream ended properly after %d bytes", s.way.name, len(s.got.bytes()))
	}
	return string(s.got.bytes())
}

// expectWhole compares what a client has in the end with what was sent: it must be the
// beginning of that, up to where no event is under way.
func (s *follower) expectWhole(t *testing.T, upstream *feed) {
	t.Helper()
	got, sent := string(s.got.bytes()), string(upstream.sent.bytes())
	if !strings.HasPrefix(sent, got) {
		t.Errorf("by %s came what was not sent: %d bytes, ending in %q", s.way.name, len(got), tail(got))
	}
	if !betweenEvents(got) {
		t.Errorf("by %s an event is torn: %d bytes of %d, ending in %q", s.way.name, len(got), len(sent), tail(got))
	}
}

// betweenEvents reports whether there is no event under way after so much of a stream.
func betweenEvents(s string) bool {
	if strings.HasSuffix(s, "\n\r") && strings.Contains(s, "\r\n") {
		return false // in the end of an empty line
	}
	for s = strings.TrimPrefix(s, "\ufeff"); s != ""; {
		rest := strings.TrimSuffix(strings.TrimSuffix(s, "\n"), "\r")
		if len(rest) == len(s) {
			return false // within a line
		}
		at := strings.LastIndexAny(rest, "\r\n") + 1
		line := rest[at:]
		if line == "" {
			return true
		}
		if line[0] != ':' {
			return false
		}
		s = s[:at]
	}
	return true
}

// waitStreams waits until the metrics show n live streams.
func (g *gateway) waitStreams(t *testing.T, n int, labels ...string) {
	t.Helper()
	eventually(t, fmt.Sprint(n, " live streams in the metrics"), func() bool {
		return g.sum(t, "caddy_ws_gateway_streams", labels...) == float64(n)
	})
}

func tail(s string) string { return s[max(0, len(s)-60):] }
