package integration

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// row is a connection as the admin endpoint shows it.
type row struct {
	ID, Gateway, User, Proto, Protocol, Upstream, Subprotocol string
	RemoteIP                                                  string    `json:"remote_ip"`
	OpenedAt                                                  time.Time `json:"opened_at"`
	Age                                                       float64

	MessagesFromClient   int `json:"messages_from_client"`
	MessagesFromUpstream int `json:"messages_from_upstream"`
	BytesFromClient      int `json:"bytes_from_client"`
	BytesFromUpstream    int `json:"bytes_from_upstream"`

	Idle, RTT *float64
	Pending   *int
	Rates     map[string]float64

	EndsAt      time.Time `json:"ends_at"`
	EndsBecause string    `json:"ends_because"`

	ClosedAt   time.Time `json:"closed_at"`
	By, Reason string
	Code       int
}

// connectionList reads what the admin endpoint lists.
func (g *gateway) connectionList(t *testing.T, query string) (rows []row) {
	t.Helper()
	g.read(t, "/ws_gateway/connections"+query, &rows)
	return rows
}

func (g *gateway) read(t *testing.T, path string, into any) {
	t.Helper()
	status, body := g.adminDo(t, http.MethodGet, path, "", "")
	if status != 200 {
		t.Fatalf("GET %s: %d %s", path, status, body)
	}
	if err := json.Unmarshal([]byte(body), into); err != nil {
		t.Fatalf("GET %s: %v: %s", path, err, body)
	}
}

// onlyRow is the one connection of a gateway, which may have been opened just now.
func (g *gateway) onlyRow(t *testing.T, name string) row {
	t.Helper()
	return g.eventuallyOnly(t, name, "the connection", func(row) bool { return true })
}

// eventuallyOnly waits until the one connection of a gateway is as it should be.
func (g *gateway) eventuallyOnly(t *testing.T, name, what string, is func(row) bool) (last row) {
	t.Helper()
	eventually(t, what, func() bool {
		rows := g.connectionList(t, "?gateway="+name)
		if len(rows) == 1 {
			last = rows[0]
		}
		return len(rows) == 1 && is(last)
	})
	return last
}

// TestRowsAddUpWithWhatBothSidesCounted while a connection is live, when it has ended,
// and in the totals of the gateway.
func TestRowsAddUpWithWhatBothSidesCounted(t *testing.T) {
	b := newBackend(t, echo)
	_, port, _ := net.SplitHostPort(b.addr)
	name := "rows" + port // of no other run in this process, which goes on to count
	g := start(t, "ws_gateway "+b.addr+" {\n name "+name+"\n auth {\n bearer good-token alice\n }\n }")
	header := bearer("good-token")
	header["Sec-WebSocket-Protocol"] = []string{"chat"}
	rounds := 0
	eachCarrier(t, func(t *testing.T, c carrier) {
		rounds++
		begun := time.Now()
		conn := c.open(t, g, "/ws", header)
		conn.ping(t, "hello")
		for _, f := range []frame{
			{op: opBinary, payload: []byte("frag")}, {fin: true, op: opPing, payload: []byte("p")}, {fin: true, payload: []byte("ment")},
		} {
			conn.mustSend(t, f)
			conn.expect(t, f)
		}
		got := g.eventuallyOnly(t, name, "two messages, passed on", func(r row) bool { return r.MessagesFromUpstream == 2 && *r.Pending == 0 })
		want := row{
			ID: got.ID, Gateway: name, User: "alice", RemoteIP: "127.0.0.1", Proto: c.proto, Protocol: "websocket", Upstream: b.addr, Subprotocol: "chat",
			MessagesFromClient: 2, MessagesFromUpstream: 2, BytesFromClient: 13, BytesFromUpstream: 13,
		}
		plain := got
		plain.OpenedAt, plain.Age, plain.Idle, plain.Pending, plain.Rates = time.Time{}, 0, nil, nil, nil
		if fmt.Sprintf("%+v", plain) != fmt.Sprintf("%+v", want) {
			t.Errorf("shown as %+v, want %+v", plain, want)
		}
		if got.OpenedAt.Before(begun.Add(-time.Second)) || got.OpenedAt.Location() != time.UTC || got.Age < 0 || got.Idle == nil || *got.Idle > got.Age {
			t.Errorf("opened at %v, %v ago, idle for %v", got.OpenedAt, got.Age, got.Idle)
		}
		if got.RTT != nil || got.Rates["messages_from_client"] <= 0 || got.Rates["bytes_from_upstream"] <= 0 {
			t.Errorf("rtt %v, rates %v", got.RTT, got.Rates)
		}
		var one row
		if g.read(t, "/ws_gateway/connections/"+got.ID, &one); one.ID != got.ID {
			t.Errorf("by its ID: %+v", one)
		}
		conn.finish(t)
		g.expectPast(t, name, got.ID)
		g.expectTotals(t, name, rounds)
	})
}

// expectPast waits for the connection among those that have ended.
func (g *gateway) expectPast(t *testing.T, name, id string) {
	t.Helper()
	eventually(t, "the end of the connection", func() bool { return len(g.connectionList(t, "?gateway="+name)) == 0 })
	past := g.connectionList(t, "?state=closed&limit=1&user=alice&gateway="+name)
	if len(past) != 1 || past[0].ID != id {
		t.Fatalf("%+v is not what ended last", past)
	}
	r := past[0]
	if r.By != "client" || r.Code != 1000 || r.Reason != "bye" || r.MessagesFromClient != 2 || r.BytesFromUpstream != 13 ||
		r.ClosedAt.Before(r.OpenedAt) || r.Idle != nil || r.Rates != nil || r.Pending != nil {
		t.Errorf("shown as %+v", r)
	}
	var one row
	if g.read(t, "/ws_gateway/connections/"+id, &one); one.Code != 1000 {
		t.Errorf("by its ID: %+v", one)
	}
}

// expectTotals compares what the gateway shows of so many such connections, which have
// ended, beside refusals of a bad token.
func (g *gateway) expectTotals(t *testing.T, name string, connections int) {
	t.Helper()
	overWS.refused(t, g, "/ws", bearer("bad"), 401)
	type totals struct {
		Name                 string
		Handshakes, Closes   map[string]int
		MessagesFromClient   int `json:"messages_from_client"`
		MessagesFromUpstream int `json:"messages_from_upstream"`
		BytesFromClient      int `json:"bytes_from_client"`
		Refused              []struct {
			Status int
			Result string
		}
	}
	var all []totals
	g.read(t, "/ws_gateway/", &all)
	at := slices.IndexFunc(all, func(g totals) bool { return g.Name == name })
	if at < 0 {
		t.Fatal("the gateway is not shown")
	}
	got := all[at]
	if got.Handshakes["ok"] != connections || got.Handshakes["unauthorized"] != connections || got.Closes["client 1000"] != connections ||
		got.MessagesFromClient != 2*connections || got.MessagesFromUpstream != 2*connections || got.BytesFromClient != 13*connections {
		t.Errorf("shown as %+v after %d connections", got, connections)
	}
	if len(got.Refused) != connections || got.Refused[0].Status != 401 || got.Refused[0].Result != "unauthorized" {
		t.Errorf("refused: %+v", got.Refused)
	}
}

func TestRowShowsHowLongTheWayIs(t *testing.T) {
	b := newBackend(t, hold)
	g := start(t, "ws_gateway "+b.addr+" {\n name way\n ping 100ms 10s\n }")
	eachCarrier(t, func(t *testing.T, c carrier) {
		conn := c.open(t, g, "/ws", nil)
		f, err := conn.next()
		if err != nil || f.op != opPing {
			t.Fatalf("got %v, %v, want a ping", f, err)
		}
		if r := g.onlyRow(t, "way"); r.RTT != nil {
			t.Errorf("%v is shown before the first pong", *r.RTT)
		}
		conn.mustSend(t, frame{fin: true, op: opPong, payload: f.payload})
		r := g.eventuallyOnly(t, "way", "a round trip", func(r row) bool { return r.RTT != nil })
		if *r.RTT <= 0 || *r.RTT > patience.Seconds() || r.MessagesFromClient != 0 {
			t.Errorf("shown as %+v", r)
		}
		if rows := g.connectionList(t, "?gateway=way&sort=rtt"); len(rows) != 1 {
			t.Errorf("sorted: %+v", rows)
		}
		conn.kill()
		eventually(t, "the end of the connection", func() bool { return len(g.connectionList(t, "?gateway=way")) == 0 })
	})
}

func TestRowShowsWhatIsHeldForAClientThatDoesNotRead(t *testing.T) {
	b := newBackend(t, func(c *backendConn) {
		if c.accept() != nil {
			return
		}
		for c.write(frame{fin: true, op: opBinary, payload: make([]byte, 64<<10)}) == nil {
			continue
		}
	})
	g := start(t, "ws_gateway "+b.addr+" {\n name stalled\n }")
	for _, c := range []carrier{overWS, overWSS} {
		t.Run(c.name, func(t *testing.T) {
			conn := c.open(t, g, "/ws", nil)
			r := g.eventuallyOnly(t, "stalled", "bytes held for it", func(r row) bool { return *r.Pending > 0 })
			if *r.Pending > 1<<20 || r.BytesFromUpstream == 0 {
				t.Errorf("shown as %+v", r)
			}
			conn.kill()
			eventually(t, "the end of the connection", func() bool { return len(g.connectionList(t, "?gateway=stalled")) == 0 })
		})
	}
}

func TestRowsSayWhenAndWhyAConnectionEnds(t *testing.T) {
	b := newBackend(t, hold)
	site := "ws_gateway %s {\n name ends\n drain_period 1h\n max_age %s 0\n auth {\n bearer good-token alice\n jwt {\n key %q\n leeway 0s\n }\n }\n }"
	g := start(t, fmt.Sprintf(site, b.addr, "2h", jwtSecret))
	near := func(r row, in time.Duration, because string) bool {
		left := time.Until(r.EndsAt)
		return r.EndsBecause == because && left > in-time.Minute && left < in+time.Minute
	}
	token := overWS.open(t, g, "/ws", bearer(tokenFor("bob", time.Hour)))
	if r := g.onlyRow(t, "ends"); !near(r, time.Hour, "token") {
		t.Errorf("with a token of an hour: %v because of %q", r.EndsAt, r.EndsBecause)
	}
	token.kill()
	eventually(t, "the end of the connection", func() bool { return len(g.connectionList(t, "?gateway=ends")) == 0 })
	overH2.open(t, g, "/ws", bearer("good-token"))
	if r := g.onlyRow(t, "ends"); !near(r, 2*time.Hour, "max_age") {
		t.Errorf("with a max_age of two hours: %v because of %q", r.EndsAt, r.EndsBecause)
	}
	g.setState(t, b.addr, "drain")
	defer g.setState(t, b.addr, "ready")
	g.eventuallyOnly(t, "ends", "a drain", func(r row) bool {
		return r.EndsBecause == "drain" && time.Until(r.EndsAt) < time.Hour && time.Until(r.EndsAt) > 0
	})
	g.setState(t, b.addr, "ready")
	if r := g.onlyRow(t, "ends"); !near(r, 2*time.Hour, "max_age") {
		t.Errorf("the drain undone: %v because of %q", r.EndsAt, r.EndsBecause)
	}
}

func TestListOfConnectionsRefusesWhatItDoesNotKnow(t *testing.T) {
	b := newBackend(t, hold)
	g := start(t, "ws_gateway "+b.addr+" {\n name refusing\n }")
	for range 3 {
		overWS.open(t, g, "/ws", nil)
	}
	eventually(t, "three connections", func() bool { return len(g.connectionList(t, "?gateway=refusing")) == 3 })
	pages := g.connectionList(t, "?gateway=refusing&limit=2")
	pages = append(pages, g.connectionList(t, "?gateway=refusing&limit=2&after="+pages[1].ID)...)
	if len(pages) != 3 || !slices.IsSortedFunc(pages, func(a, b row) int { return strings.Compare(a.ID, b.ID) }) {
		t.Errorf("paged as %+v", pages)
	}
	for _, query := range []string{"?upstream=" + url.QueryEscape("http://"+b.addr), "?ip=::ffff:127.0.0.1", "?gateway=refusing&sort=age"} {
		if n := len(g.connectionList(t, query)); n != 3 {
			t.Errorf("%s: %d are listed", query, n)
		}
	}
	for _, row := range []struct {
		method, path string
		want         int
	}{
		{"HEAD", "/ws_gateway/connections", 200},
		{"HEAD", "/ws_gateway/", 200},
		{"POST", "/ws_gateway/connections", 405},
		{"GET", "/ws_gateway/connections?x=1", 400},
		{"GET", "/ws_gateway/connections?user=a&user=b", 400},
		{"GET", "/ws_gateway/connections/" + pages[0].ID, 200},
		{"GET", "/ws_gateway/connections/" + pages[0].ID + "?user=a", 400},
		{"GET", "/ws_gateway/connections/0000000000000000", 404},
	} {
		status, body := g.adminDo(t, row.method, row.path, "", "")
		var said struct{ Error string }
		if _ = json.Unmarshal([]byte(body), &said); status != row.want || status >= 400 && said.Error == "" {
			t.Errorf("%s %s: %d %s, want %d", row.method, row.path, status, body, row.want)
		}
	}
	status, body := g.adminDo(t, "DELETE", "/ws_gateway/connections?gateway=refusing&older_than=1h", "", "")
	if status != 200 || body != "{\"ended\":0}\n" {
		t.Errorf("%d %s", status, body)
	}
	status, body = g.adminDo(t, "DELETE", "/ws_gateway/connections?gateway=refusing&older_than=1ns", "", "")
	if status != 200 || body != "{\"ended\":3}\n" {
		t.Errorf("%d %s", status, body)
	}
}
