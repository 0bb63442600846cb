package assembly

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// numbered makes so many messages of a size, each with its number.
func numbered(n, size int, masked bool, between ...[]byte) []byte {
	var b bytes.Buffer
	for i := range n {
		b.Write(frame(0x82, fmt.Sprintf("%08d", i)+strings.Repeat("x", size-8), masked))
		for _, p := range between {
			b.Write(p)
		}
	}
	return b.Bytes()
}

// takeNumbered reads the messages that numbered has made, and fails where one is missing.
func takeNumbered(t testing.TB, c net.Conn, n, size int, masked bool) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	var stream, payload []byte
	p := make([]byte, 64<<10)
	for next := 0; next < n; {
		read, err := c.Read(p)
		stream = append(stream, p[:read]...)
		for {
			h, complete := wsframe.ParseHeader(stream)
			end := uint64(h.Size) + h.Length
			if !complete || uint64(len(stream)) < end {
				break
			}
			part := stream[h.Size:end]
			stream = stream[end:]
			if h.Masked != masked {
				t.Fatalf("a frame is masked: %t", h.Masked)
			}
			if h.Control() {
				continue
			}
			wsframe.Mask(part, h.Key, 0)
			payload = append(payload, part...)
			if !h.Final {
				continue
			}
			if len(payload) != size || string(payload[:8]) != fmt.Sprintf("%08d", next) {
				t.Fatalf("message %d is %s", next, short(payload))
			}
			payload = payload[:0]
			next++
		}
		if err != nil && next < n {
			t.Fatalf("%d of %d messages have come: %v", next, n, err)
		}
	}
}

const (
	many     = 600
	manySize = 8 << 10 // 5 MB, which is much more than what is held for a small fixture
)

// TestUpstreamThatPingsAndDoesNotReadWhileItSends is a single thread at the upstream, and
// a client that sends more than the kernel holds.
func TestUpstreamThatPingsAndDoesNotReadWhileItSends(t *testing.T) {
	t.Parallel()
	f := start(t, setup{chains: both(0, handlerFunc(pass)), raw: true, small: true})
	fromClient := writing(t, f.rawClient, numbered(many, manySize, true))
	fromUpstream := writing(t, f.rawUpstream, numbered(many, manySize, false, frame(0x89, "are you there?", false)))
	takeNumbered(t, f.rawClient, many, manySize, false)
	<-fromUpstream
	takeNumbered(t, f.rawUpstream, many, manySize, true)
	<-fromClient
	finish(t, f)
}

// writing writes p, and says when that is done.
func writing(t testing.TB, c net.Conn, p []byte) <-chan struct{} {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		write(t, c, p)
	}()
	return done
}

// finish has the client hang up.
func finish(t testing.TB, f *fixture) relay.Outcome {
	t.Helper()
	_ = f.rawClient.Close()
	_ = f.rawUpstream.Close()
	return f.end(t)
}

func TestEachSideIsHeldBackByTheOther(t *testing.T) {
	t.Parallel()
	for how, chains := range chainsOfAllKinds {
		for _, fromClient := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, client sends: %t", how, fromClient), func(t *testing.T) {
				t.Parallel()
				f := start(t, setup{chains: chains, raw: true, small: true})
				from, to := f.rawClient, f.rawUpstream
				if !fromClient {
					from, to = to, from
				}
				sent := writing(t, from, numbered(many, manySize, fromClient))
				select {
				case <-sent:
					t.Error("what nobody has read was taken from the sender")
				case <-time.NewTimer(100 * time.Millisecond).C:
				}
				takeNumbered(t, to, many, manySize, fromClient)
				<-sent
				finish(t, f)
			})
		}
	}
}

// TestAnswersToASideThatDoesNotReadWhileItSends has a side be held back until it reads.
func TestAnswersToASideThatDoesNotReadWhileItSends(t *testing.T) {
	t.Parallel()
	echo := handlerFunc(func(m *messages.Message) (messages.Verdict, error) {
		return messages.Reply(m.Type, m.Payload), nil
	})
	for _, isClient := range []bool{true, false} {
		t.Run(fmt.Sprintf("client: %t", isClient), func(t *testing.T) {
			t.Parallel()
			f := start(t, setup{chains: both(0, echo), raw: true, small: true})
			side := f.rawClient
			if !isClient {
				side = f.rawUpstream
			}
			sent := writing(t, side, numbered(many, manySize, isClient))
			takeNumbered(t, side, many, manySize, !isClient)
			<-sent
			finish(t, f)
		})
	}
}

func TestPingsAreAnsweredOnEachLeg(t *testing.T) {
	t.Parallel()
	for how, chains := range chainsOfAllKinds {
		for name, wrap := range map[string]func(net.Conn) relay.Conn{"deadlines": nil, "no deadlines": func(c net.Conn) relay.Conn { return withoutDeadlines{c} }} {
			t.Run(how+", "+name, func(t *testing.T) {
				t.Parallel()
				f := start(t, setup{chains: chains, raw: true, wrap: wrap})
				for i := range 3 {
					ping := fmt.Sprint("ping ", i)
					write(t, f.rawClient, frame(0x01, "half", true), frame(0x89, ping, true), frame(0x80, "", true))
					readAll(t, f.rawClient, frame(0x8A, ping, false))
					write(t, f.rawUpstream, frame(0x89, ping, false))
					said, answers := readUntilPong(t, f.rawUpstream, ping)
					if !slices.Equal(said, []told{{1, "half"}}) || len(answers) != 1 {
						t.Errorf("the upstream has got %q and %q", said, answers)
					}
				}
				write(t, f.rawUpstream, frame(0x81, "last", false))
				readAll(t, f.rawClient, frame(0x81, "last", false))
				_ = f.rawClient.Close()
				if said, code := rest(t, f.rawUpstream, true); len(said) > 0 || code != 1011 {
					t.Errorf("the upstream has got %q, and is told %d", said, code)
				}
				_ = f.rawUpstream.Close()
				f.end(t)
			})
		}
	}
}

// readUntilPong returns what the upstream gets until a message and the answer to a ping
// have come, in whatever order.
func readUntilPong(t testing.TB, c net.Conn, ping string) (said, controls []told) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	var s wsframe.Scanner
	var all []byte
	p := make([]byte, 4096)
	for len(said) == 0 || !slices.Contains(controls, told{0x0A, ping}) {
		n, err := c.Read(p)
		if err != nil {
			t.Fatalf("%q and %q have come: %v", said, controls, err)
		}
		s.Scan(p[:n])
		all = append(all, p[:n]...)
		if s.AtBoundary() {
			said, controls, _ = readStream(t, all, true)
		}
	}
	return said, controls
}

// withoutDeadlines is a conn that has no deadlines for reads.
type withoutDeadlines struct{ conn net.Conn }

func (w withoutDeadlines) Read(p []byte) (int, error)         { return w.conn.Read(p) }
func (w withoutDeadlines) Write(p []byte) (int, error)        { return w.conn.Write(p) }
func (w withoutDeadlines) Close() error                       { return w.conn.Close() }
func (w withoutDeadlines) SetWriteDeadline(t time.Time) error { return w.conn.SetWriteDeadline(t) }

func TestPingsThatPileUpDoNotWait(t *testing.T) {
	t.Parallel()
	conn, _ := newAlone(t, Config{Upstream: &scripted{}})
	for i := range 100_000 {
		if _, err := conn.Write(frame(0x89, fmt.Sprint(i), true)); err != nil {
			t.Fatal(err)
		}
	}
	all, _ := readWith(conn, 1<<10)
	if _, controls, _ := readStream(t, all, false); len(all) > mostPongs || controls[len(controls)-1] != (told{0x0A, "99999"}) {
		t.Errorf("answered with %d bytes, of which the last is %q", len(all), controls[len(controls)-1])
	}
}

func TestConnectionsEndWhileSomethingIsBlocked(t *testing.T) {
	t.Parallel()
	echo := handlerFunc(func(m *messages.Message) (messages.Verdict, error) {
		if m.Direction == messages.FromClient {
			return messages.Pass, nil
		}
		return messages.Reply(m.Type, m.Payload), nil
	})
	for name, from := range map[string]func(*fixture) net.Conn{
		"client's messages": func(f *fixture) net.Conn { return f.rawClient },
		"answers":           func(f *fixture) net.Conn { return f.rawUpstream },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, setup{chains: both(time.Minute, echo), raw: true, small: true, impatient: true})
			sender := from(f)
			masked := sender == f.rawClient
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				_ = sender.SetWriteDeadline(time.Now().Add(patience))
				_, _ = sender.Write(numbered(many, manySize, masked))
			}()
			<-time.NewTimer(50 * time.Millisecond).C
			f.relay.End(relay.Close{Code: 1001}, relay.Close{Code: 1001})
			if o := f.end(t); o.By != relay.Gateway || o.Code != 1001 {
				t.Errorf("ended with %+v", o)
			}
			<-sent
		})
	}
}

// TestSlowUpstreamIsTold has an upstream that does not read be told why it is ended, once
// it reads, and a client that it is to come back.
func TestSlowUpstreamIsTold(t *testing.T) {
	relay.SetBuffers(64 << 10)
	defer relay.SetBuffers(0)
	for how, chains := range chainsOfAllKinds {
		t.Run(how, func(t *testing.T) {
			f := start(t, setup{chains: chains, raw: true, small: true})
			go func() {
				_ = f.rawClient.SetWriteDeadline(time.Now().Add(patience))
				_, _ = f.rawClient.Write(numbered(many*10, 1000, true))
			}()
			_ = f.rawClient.SetReadDeadline(time.Now().Add(patience))
			said, _, _ := readStream(t, readUntilClose(t, f.rawClient), false)
			if code := closeOf([]byte(said[0].payload)).Code; code != 1012 {
				t.Errorf("the client is told %d", code)
			}
			got := make(chan int, 1)
			go func() {
				_, code := rest(t, f.rawUpstream, true)
				got <- code
				_ = f.rawUpstream.Close()
			}()
			_ = f.rawClient.Close()
			o := f.end(t)
			if code := <-got; code != 1013 || o.Limit != relay.LimitBuffers {
				t.Errorf("the upstream is told %d, and the outcome is %+v", code, o)
			}
			if used, _ := relay.Buffers(); used != 0 {
				t.Errorf("%d bytes count as held", used)
			}
		})
	}
}

// TestMessageThatAClientDoesNotTakeCounts is about what a Conn holds.
func TestMessageThatAClientDoesNotTakeCounts(t *testing.T) {
	up := &scripted{pieces: whole(frame(0x82, string(make([]byte, 900<<10)), false))}
	conn, _ := newAlone(t, Config{Upstream: up, Chains: both(0, handlerFunc(pass))})
	before, _ := relay.Buffers()
	p := make([]byte, 32<<10)
	if _, err := conn.Read(p); err != nil {
		t.Fatal(err)
	}
	if used, _ := relay.Buffers(); used-before < 900<<10 {
		t.Errorf("%d bytes count as held", used-before)
	}
	if _, err := readWith(conn, 32<<10); err != io.EOF { //nolint:errorlint // it is returned as it is
		t.Error(err)
	}
	if used, _ := relay.Buffers(); used != before {
		t.Errorf("%d bytes count as held when all is taken", used-before)
	}
}

func TestClientsMessageOfTheSizeMayBeLargerCompressed(t *testing.T) {
	t.Parallel()
	const most = 100 << 10
	f := start(t, setup{chains: both(0, handlerFunc(pass)), most: most, policy: relay.Policy{MessageSize: most}, deflateClient: true, raw: true})
	random := make([]byte, most)
	noise(random)
	write(t, f.rawClient, frame(0xC2, string(deflated(random, nil)), true), closing(1000, "", true))
	write(t, f.rawUpstream, closing(1000, "", false))
	said, _ := rest(t, f.rawUpstream, true)
	if len(said) != 1 || said[0].payload != string(random) {
		t.Errorf("%d messages have come", len(said))
	}
	f.end(t)
}

func noise(p []byte) {
	x := uint32(1)
	for i := range p {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		p[i] = byte(x)
	}
}
