package integration

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
)

// tickets is how a client keeps the session that it may resume. It counts those that it
// was offered.
type tickets struct {
	tls.ClientSessionCache
	came int
}

func (c *tickets) Put(key string, session *tls.ClientSessionState) {
	if session != nil {
		c.came++
	}
	c.ClientSessionCache.Put(key, session)
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
	var tried error
	if !poll(patience, func() bool { // a reload breaks off what waits in the old socket's queue
		resumed, tried = v.tryVisit(t, g)
		return tried == nil
	}) {
		t.Fatal(tried)
	}
	return resumed
}

func (v *visitor) tryVisit(t *testing.T, g *gateway) (resumed bool, err error) {
	t.Helper()
	came := v.tickets.came
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", g.httpsAddr, v.config)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	a, err := v.shake(conn, g)
	if err != nil {
		return false, err
	}
	if a.conn == nil {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	if v.tickets.came == came {
		t.Error("no ticket came before the answer")
	}
	a.conn.ping(t, "resumed")
	a.conn.finish(t)
	return conn.ConnectionState().DidResume, nil
}

func (v *visitor) shake(conn *tls.Conn, g *gateway) (answer, error) {
	if v.protocol != "h2" {
		return shakeH1(conn, handshakeH1("/", g.tlsHost(), nil))
	}
	c, err := overTLS(conn)
	if err != nil {
		return answer{}, err
	}
	return shakeH2(context.Background(), c, g, "/", nil)
}

// eachVisitor runs a subtest for each kind of client that may come again.
func eachVisitor(t *testing.T, test func(t *testing.T, v *visitor)) {
	t.Helper()
	for _, protocol := range []string{"http/1.1", "h2"} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(protocol+" "+tls.VersionName(version), func(t *testing.T) { test(t, newVisitor(protocol, version)) })
		}
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
	for _, source := range []string{"standard", "distributed"} {
		t.Run(source, func(t *testing.T) {
			g := startWith(t, "ws_gateway {\n session_tickets "+source+"\n }", "ws_gateway "+b.addr)
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
	g.options = ""
	g.reload(t, "ws_gateway "+b.addr)
	other := newVisitor("http/1.1", tls.VersionTLS13)
	other.expect(t, g, "first without keys of ours", false)
	other.expect(t, g, "coming again without keys of ours", true)
	g.options = with
	g.reload(t, "ws_gateway "+b.addr)
	kept.expect(t, g, "with the keys of before", true)
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
		<-p.exited
	}
	v.expect(t, node().gateway, "on a node that was started since", true)
}
