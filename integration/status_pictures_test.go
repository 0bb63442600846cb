package integration

import (
	"encoding/base64"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var pictures = flag.String("pictures", "", "the folder to put pictures of the live page into, which takes five minutes")

// maxPicture is how large a picture may be, in bytes.
const maxPicture = 150_000

// TestStatusPagePictures makes the pictures of the documentation anew, of real traffic:
//
//	go test ./integration -run TestStatusPagePictures -pictures ../docs/pictures -timeout 15m
func TestStatusPagePictures(t *testing.T) {
	if *pictures == "" {
		t.Skip("pictures are made where -pictures says where to")
	}
	users := strings.Fields("alice bob carol dave erin frank grace heidi ivan judy mallory niaj")
	var tokens strings.Builder
	for _, user := range users {
		fmt.Fprintf(&tokens, "  bearer token-of-%s-for-pictures %s\n", user, user)
	}
	site := "handle /ws {\n ws_gateway"
	for range 3 {
		site += " " + newBackend(t, echo).addr
	}
	g := start(t, site+" {\n  name chat\n  drain_period 3m\n  ping 2s\n  auth {\n   token header\n"+tokens.String()+
		"  }\n  limit {\n   connections 200\n   connections_per_user 8\n   message_size 64KiB\n   messages 50/10s burst 100\n  }\n }\n}\n"+
		"ws_gateway_status /status {\n allow_actions\n}")
	for i := range 60 {
		go chatter(t, g, users[i*5%len(users)], i)
	}
	p := openStatus(t, "http://"+g.httpAddr+"/status")
	p.eval(t, `(() => { const node = document.getElementById("node"); new MutationObserver(() => {
		const text = node.textContent.replace(/^[^ ]+ · /, "edge-1 · ");
		if (node.textContent !== text) node.textContent = text;
	}).observe(node, {childList: true, characterData: true, subtree: true}); })()`)
	var none struct{}
	p.call(t, "Emulation.setScrollbarsHidden", map[string]any{"hidden": true}, &none)
	<-time.After(5 * time.Minute) //nolint:forbidigo // a plot of five minutes takes that
	p.show(t, "light", 1200, 960)
	p.picture(t, "status-light.png")
	g.setState(t, g.gateways(t)[0].Upstreams[1].Address, "drain")
	p.waitFor(t, `document.getElementById("gateways").textContent`, "draining")
	<-time.After(time.Minute) //nolint:forbidigo // a drain of three minutes is under way
	p.show(t, "dark", 1200, 700)
	p.picture(t, "status-dark.png")
	p.show(t, "light", 390, 780)
	p.picture(t, "status-phone.png")
}

// chatter is a user who says something now and then, leaves, and comes again.
func chatter(t *testing.T, g *gateway, user string, i int) {
	<-time.After(time.Duration(i*i) * time.Second / 15) //nolint:forbidigo // a user of flesh
	for t.Context().Err() == nil {
		token := "token-of-" + user + "-for-pictures"
		if rand.IntN(8) == 0 {
			token = "an-old-token-of-" + user
		}
		a, err := overWS.try(g, "/ws", bearer(token))
		if err != nil {
			return
		}
		if a.conn != nil {
			a.conn.chat(time.Duration(20+rand.IntN(200))*time.Second, 200*(1+i%10))
		}
		<-time.After(time.Duration(1+rand.IntN(20)) * time.Second) //nolint:forbidigo // a user of flesh
	}
}

// chat says something about each pause for so long.
func (c *wsConn) chat(stays time.Duration, pause int) {
	defer c.kill()
	pings := make(chan []byte, 10)
	go func() {
		defer close(pings)
		for f, err := c.next(); err == nil; f, err = c.next() {
			if f.op == opPing {
				pings <- f.payload
			}
		}
	}()
	for left := time.After(stays); ; { //nolint:forbidigo // a user of flesh
		var err error
		select {
		case <-left:
			_ = c.send(closing(1000, "bye"))
			return
		case payload, more := <-pings:
			if !more {
				return
			}
			err = c.send(frame{fin: true, op: opPong, payload: payload})
		case <-time.After(time.Duration(pause+rand.IntN(2*pause)) * time.Millisecond): //nolint:forbidigo // a user of flesh
			err = c.send(text(strings.Repeat("x", 20+rand.IntN(400))))
		}
		if err != nil {
			return
		}
	}
}

// picture writes what is shown to a file.
func (p *page) picture(t *testing.T, name string) {
	t.Helper()
	p.eval(t, `scrollTo(0, 0)`)
	p.waitFor(t, `new Promise(requestAnimationFrame) && document.readyState`, "complete")
	var shot struct{ Data string }
	p.call(t, "Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > maxPicture {
		t.Errorf("%s has %d bytes", name, len(data))
	}
	if err := os.WriteFile(filepath.Join(*pictures, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}
