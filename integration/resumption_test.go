package integration

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// tickets is how a client keeps the session that it may resume, also when a handshake
// with it fails. It counts those that it was offered.
type tickets struct {
	tls.ClientSessionCache
	came atomic.Int32
}

func (c *tickets) Put(key string, session *tls.ClientSessionState) {
	if session != nil {
		c.came.Add(1)
		c.ClientSessionCache.Put(key, session)
	}
}

// visitor is a client over TLS that comes again.
type visitor struct {
	protocol string
	config   *tls.Config
	tickets  *tickets
}

func newVisitor(protocol string, version uint16) *visitor {
	v := &visitor{protocol, clientTLS(protocol), &tickets{ClientSessionCache: tls.NewLRUClientSessionCache(1)}}
	v.config.MinVersion, v.config.MaxVersion, v.config.ClientSessionCache = version, version, v.tickets
	return v
}

// visit opens a WebSocket, uses it, and reports whether it resumed a session.
func (v *visitor) visit(t *testing.T, g *gateway) (resumed bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	came := v.tickets.came.Load()
	var a answer
	var tried error
	if !poll(patience, func() bool { // a reload breaks off what has just come to the old servers
		kept, _ := v.tickets.Get(v.config.ServerName)
		if v.protocol == "h3" {
			a, resumed, tried = v.overUDP(ctx, g)
		} else {
			a, resumed, tried = v.overTCP(ctx, g)
		}
		if tried != nil { // the ticket of an old server is of no use with the new ones
			v.tickets.ClientSessionCache.Put(v.config.ServerName, kept)
		}
		return tried == nil
	}) {
		t.Fatal(tried)
	}
	if a.conn == nil {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	if v.protocol != "h3" && v.tickets.came.Load() == came {
		t.Error("no ticket came before the answer")
	}
	a.conn.ping(t, "again")
	eventually(t, "a ticket", func() bool { return v.tickets.came.Load() > came })
	a.conn.finish(t)
	return resumed
}

func (v *visitor) overTCP(ctx context.Context, g *gateway) (a answer, resumed bool, err error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", g.httpsAddr, v.config)
	if err != nil {
		return answer{}, false, err
	}
	if v.protocol != "h2" {
		a, err = shakeH1(conn, handshakeH1("/", g.tlsHost(), nil))
		return a, conn.ConnectionState().DidResume, err
	}
	c, err := overTLS(conn)
	if err != nil {
		return answer{}, false, err
	}
	if a, err = shakeH2(ctx, c, g, "/", nil); err != nil || a.conn == nil {
		_ = conn.Close()
		return a, false, err
	}
	a.conn.abort = func() { _ = conn.Close() }
	return a, conn.ConnectionState().DidResume, nil
}

func (v *visitor) overUDP(ctx context.Context, g *gateway) (a answer, resumed bool, err error) {
	conn, err := quic.DialAddr(ctx, g.httpsAddr, v.config, nil)
	if err != nil {
		return answer{}, false, err
	}
	abort := func() { _ = conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "") }
	cc, err := overQUIC(conn)
	if err == nil {
		a, err = shakeH3(ctx, cc, g, "/", nil)
	}
	if err != nil || a.conn == nil {
		abort()
		return a, false, err
	}
	a.conn.abort = abort
	return a, conn.ConnectionState().TLS.DidResume, nil
}

// eachVisitor runs a subtest for each kind of client that may come again.
func eachVisitor(t *testing.T, test func(t *testing.T, v *visitor)) {
	t.Helper()
	for _, kind := range []struct {
		protocol string
		version  uint16
	}{
		{"http/1.1", tls.VersionTLS12}, {"http/1.1", tls.VersionTLS13},
		{"h2", tls.VersionTLS12}, {"h2", tls.VersionTLS13}, {"h3", tls.VersionTLS13},
	} {
		t.Run(kind.protocol+" "+tls.VersionName(kind.version), func(t *testing.T) {
			test(t, newVisitor(kind.protocol, kind.version))
		})
	}
}

func (v *visitor) expect(t *testing.T, g *gateway, when string, want bool) {
	t.Helper()
	if got := v.visit(t, g); got != want {
		t.Errorf("%s, the client resumed its session: %t, want %t", when, got, want)
	}
}

func TestSessionsAreResumed(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr)
	eachVisitor(t, func(t *testing.T, v *visitor) {
		v.expect(t, g, "first", false)
		v.expect(t, g, "coming again", true)
		v.expect(t, g, "coming with the ticket of a session that was resumed", true)
	})
}

// TestSessionsAreResumedAfterReloads that change the site and change it back.
func TestSessionsAreResumedAfterReloads(t *testing.T) {
	b := newBackend(t, echo)
	for source, option := range map[string]string{
		"by default":  "",
		"standard":    "ws_gateway {\n session_tickets standard\n }",
		"distributed": "ws_gateway {\n session_tickets distributed\n }",
	} {
		t.Run(source, func(t *testing.T) {
			g := startWith(t, option, "ws_gateway "+b.addr)
			eachVisitor(t, func(t *testing.T, v *visitor) {
				v.expect(t, g, "first", false)
				for _, site := range []string{"header X-Changed yes\n ws_gateway ", "ws_gateway "} {
					g.reload(t, site+b.addr)
					v.expect(t, g, "after a reload", true)
				}
			})
		})
	}
}

// TestKeysOfTicketsMayBeTakenOutAndPutBack by reloads.
func TestKeysOfTicketsMayBeTakenOutAndPutBack(t *testing.T) {
	b := newBackend(t, echo)
	g := startWith(t, "ws_gateway {\n session_tickets standard\n }", "ws_gateway "+b.addr)
	kept := newVisitor("http/1.1", tls.VersionTLS13)
	kept.expect(t, g, "first", false)
	with := g.options
	g.options = "ws_gateway {\n session_tickets distributed\n }"
	g.reload(t, "ws_gateway "+b.addr)
	other := newVisitor("http/1.1", tls.VersionTLS13)
	other.expect(t, g, "first without keys of ours", false)
	other.expect(t, g, "coming again without keys of ours", true)
	g.options = with
	g.reload(t, "ws_gateway "+b.addr)
	kept.expect(t, g, "with the keys of before", true)
}

// TestClientsThatShowCertificatesGetNoTickets, since a session that is resumed would show
// none.
func TestClientsThatShowCertificatesGetNoTickets(t *testing.T) {
	b := newBackend(t, echo)
	g := newGateway(t, "ws_gateway {\n session_tickets standard\n }")
	g.tls += " {\n client_auth {\n mode request\n }\n }"
	g.run(t, "ws_gateway "+b.addr)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		v := newVisitor("http/1.1", version)
		for range 2 {
			a, resumed, err := v.overTCP(t.Context(), g)
			if err != nil || a.conn == nil {
				t.Fatalf("%v, status %d", err, a.status)
			}
			a.conn.ping(t, "again")
			a.conn.finish(t)
			if resumed || v.tickets.came.Load() > 0 {
				t.Errorf("%s: %d tickets came, a session was resumed: %t", tls.VersionName(version), v.tickets.came.Load(), resumed)
			}
		}
	}
}

// TestSessionsAreResumedOnAnotherNode that shares the storage, and after a restart.
func TestSessionsAreResumedOnAnotherNode(t *testing.T) {
	long(t)
	b := newBackend(t, echo)
	storage := t.TempDir()
	node := func() *process {
		g := newGateway(t, "ws_gateway {\n session_tickets distributed\n }")
		g.storage = storage
		p := g.runProcess(t, g.caddyfile("ws_gateway "+b.addr, "output stderr\n\t\tformat json"))
		g.waitForTLS(t)
		return p
	}
	one, two := node(), node()
	eachVisitor(t, func(t *testing.T, v *visitor) {
		v.expect(t, one.gateway, "first", false)
		v.expect(t, two.gateway, "on the other node", true)
		v.expect(t, one.gateway, "back on the first", true)
	})
	v := newVisitor("http/1.1", tls.VersionTLS13)
	v.expect(t, one.gateway, "first", false)
	for _, p := range []*process{one, two} {
		_ = p.cmd.Process.Kill()
		if err := receive(t, "the process to exit", p.exited); err == nil {
			t.Error("a process that was killed says that all is well")
		}
	}
	v.expect(t, node().gateway, "on a node that was started since", true)
}
