package integration

import (
	"fmt"
	"strings"
	"testing"
)

// openStatus opens the live page, and the console that tells of its faults.
func openStatus(t *testing.T, url string) *page {
	t.Helper()
	p := openPage(t, url)
	var none struct{}
	p.call(t, "Log.enable", nil, &none)
	p.call(t, "Emulation.setFocusEmulationEnabled", map[string]any{"enabled": true}, &none)
	p.waitFor(t, `document.getElementById("link")?.textContent`, "live")
	return p
}

// soundly fails the test if the page has reported a fault, such as something that its
// policy forbids.
func (p *page) soundly(t *testing.T) {
	t.Helper()
	p.eval(t, "0") // reads what was reported
	if len(p.problems) > 0 {
		t.Errorf("the page reports:\n%s", strings.Join(p.problems, "\n"))
	}
}

var virtualKeys = map[string]int{"Tab": 9, "Enter": 13, "Escape": 27}

// press presses a key.
func (p *page) press(t *testing.T, key string) {
	t.Helper()
	params := map[string]any{"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": virtualKeys[key]}
	if key == "Enter" {
		params["text"] = "\r"
	}
	if len(key) == 1 {
		params["text"] = key
	}
	var none struct{}
	p.call(t, "Input.dispatchKeyEvent", params, &none)
	p.call(t, "Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": key, "code": key}, &none)
}

// show has the page shown in a scheme of colours and a width.
func (p *page) show(t *testing.T, scheme string, width, height int) {
	t.Helper()
	var none struct{}
	p.call(t, "Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": scheme}}}, &none)
	p.call(t, "Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}, &none)
}

// cell is the text of a cell in a row that begins with a text.
func cell(table, begins string, column int) string {
	return fmt.Sprintf(`[...document.querySelectorAll(%q)].find(row => row.textContent.startsWith(%q))?.children[%d].textContent`, table+" tbody tr", begins, column)
}

// The page shows real connections and their messages as they come, and filters them.
func TestStatusPageShowsTraffic(t *testing.T) {
	g := quickstart(t)
	p := openStatus(t, "http://"+g.httpAddr+"/status")
	p.waitFor(t, `document.getElementById("connections-empty").textContent`, "Nothing is connected yet.")
	var conns []*wsConn
	for range 3 {
		conns = append(conns, overWS.open(t, g, "/ws", bearer("alice-demo-token")))
	}
	conns = append(conns, overWS.open(t, g, "/ws", bearer("bob-s-demo-token")))
	for _, conn := range conns {
		if _, err := conn.next(); err != nil { // the greeting
			t.Fatal(err)
		}
	}
	overWS.refused(t, g, "/ws", bearer("not-a-token"), 401)
	p.waitFor(t, `document.getElementById("connections-count").textContent`, "4 connections, busiest first")
	for _, up := range g.gateways(t)[0].Upstreams {
		p.waitFor(t, cell("#gateways", up.Address, 3), "2")
		p.waitFor(t, cell("#gateways", up.Address, 1), "ready")
	}
	p.waitFor(t, `document.getElementById("refused").textContent`, "401unauthorized")

	curve := `document.querySelectorAll(".plot .curve")[2].getAttribute("d")`
	before := p.eval(t, curve)
	for range 20 {
		conns[0].mustSend(t, text("hello"))
	}
	p.waitFor(t, curve+" !== "+fmt.Sprintf("%q", before), "true")
	p.waitFor(t, `document.querySelector(".plots").textContent.match(/Messagespeak ([0-9.]+)/)[1] > 5`, "true")
	p.waitFor(t, `document.querySelector("#connections tbody th").textContent`, "alice")

	p.press(t, "/")
	for _, key := range "bob" {
		p.press(t, string(key))
	}
	p.waitFor(t, `document.getElementById("connections-count").textContent`, "1 of 4 match")
	if rows := p.eval(t, `[...document.querySelectorAll("#connections tbody th span")].map(cell => cell.textContent)`); rows != "bob" {
		t.Errorf("with the filter, there are %s", rows)
	}
	p.eval(t, `[document.getElementById("filter").value = "nobody", document.getElementById("filter").oninput()]`)
	p.waitFor(t, `document.getElementById("connections-empty").textContent`, "No connection has “nobody” in it.")
	p.soundly(t)
}

// focused describes what has the focus.
const focused = `document.activeElement.getAttribute("aria-label") || document.activeElement.textContent`

// tabTo presses Tab until the focus is there.
func (p *page) tabTo(t *testing.T, where string) {
	t.Helper()
	var been []string
	for range 60 {
		p.press(t, "Tab")
		at := p.eval(t, focused)
		if strings.HasPrefix(at, where) {
			return
		}
		been = append(been, strings.SplitN(at, "\n", 2)[0])
	}
	t.Fatalf("Tab does not lead to %q, but to %q", where, been)
}

// Everything that the page does can be done by keys alone: a drain, its end, and the end
// of a connection. The focus is never lost.
func TestStatusPageByKeys(t *testing.T) {
	g := quickstart(t)
	for range 2 {
		overWS.open(t, g, "/ws", bearer("alice-demo-token"))
	}
	p := openStatus(t, "http://"+g.httpAddr+"/status")
	up := g.gateways(t)[0].Upstreams[0].Address
	p.waitFor(t, cell("#gateways", up, 3), "1")

	p.tabTo(t, "Drain "+up)
	p.press(t, "Enter")
	p.waitFor(t, focused, "Cancel") // what is safe comes first
	p.press(t, "Escape")
	p.waitFor(t, focused, "Drain "+up)
	if state := g.shown(t, "default", up).State; state != "ready" {
		t.Errorf("after Cancel, the upstream is in %s", state)
	}
	p.press(t, "Enter")
	p.waitFor(t, focused, "Cancel")
	p.press(t, "Tab")
	p.press(t, "Enter")
	p.waitFor(t, cell("#gateways", up, 1), "draining")
	if state := g.shown(t, "default", up).State; state != "drain" {
		t.Errorf("the upstream is in %s", state)
	}
	p.waitFor(t, `document.getElementById("said").textContent`, up+" drains.")
	p.waitFor(t, focused, "Ready "+up) // where Drain was
	p.press(t, "Enter")
	p.waitFor(t, focused, "Cancel")
	p.press(t, "Tab")
	p.press(t, "Enter")
	p.waitFor(t, cell("#gateways", up, 1), "ready")

	p.tabTo(t, "Skip to the connections") // around the end
	p.tabTo(t, "Age")
	p.press(t, "Enter")
	p.waitFor(t, `document.querySelector("th[aria-sort]").textContent`, "Age")
	p.tabTo(t, "End the connection")
	p.press(t, "Enter")
	p.waitFor(t, focused, "Cancel")
	p.press(t, "Tab")
	p.press(t, "Enter")
	p.waitFor(t, `document.getElementById("closed").textContent`, "token revoked")
	p.waitFor(t, `document.activeElement.closest("tr")?.classList.contains("over")`, "true") // its row stays while the focus is in it
	p.soundly(t)
}

// contrasts lists the texts whose colour does not stand out from what is behind it as WCAG
// asks for (AA).
const contrasts = `(() => {
	const light = colour => {
		const [r, g, b] = colour.match(/[0-9.]+/g).map(n => n / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
		return .2126 * r + .7152 * g + .0722 * b;
	};
	const behind = node => {
		for (; node; node = node.parentElement) {
			const colour = getComputedStyle(node).backgroundColor;
			if (!/^rgba\(.*, 0\)$/.test(colour)) return colour;
		}
		return "rgb(0, 0, 0)";
	};
	const faint = [];
	let seen = 0;
	for (const node of document.querySelectorAll("body *")) {
		const own = [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim());
		if (!own || !node.getClientRects().length || node.closest(".unseen, .skip, option, thead")) continue;
		seen++;
		const style = getComputedStyle(node), [a, b] = [light(style.color), light(behind(node))].sort((x, y) => y - x);
		const large = parseFloat(style.fontSize) >= 24, ratio = (a + .05) / (b + .05);
		if (ratio < (large ? 3 : 4.5)) faint.push(node.textContent.trim().slice(0, 30) + " " + ratio.toFixed(2));
	}
	return seen < 20 ? "only " + seen + " texts" : faint.join("; ");
})()`

// TestStatusPageIsReadable looks at the page in every light and on small screens.
func TestStatusPageIsReadable(t *testing.T) {
	g := quickstart(t)
	overWS.open(t, g, "/ws", bearer("alice-demo-token"))
	overWS.refused(t, g, "/ws", bearer("not-a-token"), 401)
	p := openStatus(t, "http://"+g.httpAddr+"/status")
	addresses := g.gateways(t)[0].Upstreams
	g.setState(t, addresses[0].Address, "drain")
	g.setState(t, addresses[1].Address, "maintenance")
	p.waitFor(t, `document.getElementById("gateways").textContent`, "draining")
	papers := make(map[string]bool)
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int{320, 360, 768, 1280} {
			p.show(t, scheme, width, 800)
			papers[p.eval(t, `getComputedStyle(document.body).backgroundColor`)] = true
			if faint := p.eval(t, contrasts); faint != "" {
				t.Errorf("%s, %d wide, there is too little contrast in %s", scheme, width, faint)
			}
			if more := p.eval(t, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); more != "0" {
				t.Errorf("%s: the page is %s wider than a screen of %d", scheme, more, width)
			}
		}
	}
	if len(papers) != 2 {
		t.Errorf("light and dark are on %v", papers)
	}
	p.soundly(t)
}

// The page goes on over a reload, says when the gateway is gone, and goes on when it is
// back.
func TestStatusPageSaysWhenTheGatewayIsGone(t *testing.T) {
	b := newBackend(t, echo)
	site := "ws_gateway /ws " + b.addr + "\nhandle_path /ops/* {\n ws_gateway_status\n}"
	g := start(t, site)
	p := openStatus(t, "http://"+g.httpAddr+"/ops/live/")
	p.eval(t, `[window.kinds = [], new MutationObserver(() => kinds.push(document.getElementById("link").dataset.kind))
		.observe(document.getElementById("link"), {attributes: true})]`)
	overWS.open(t, g, "/ws", nil)
	p.waitFor(t, `document.getElementById("connections-count").textContent`, "1 connection")
	g.reload(t, site+"\nheader X-Other 1")
	overWS.open(t, g, "/ws", nil)
	p.waitFor(t, `document.getElementById("connections-count").textContent`, "2 connections")
	if kinds := p.eval(t, `window.kinds.filter(kind => kind !== "good").length`); kinds != "0" {
		t.Errorf("over a reload, the page was not live, %s times", kinds)
	}
	if buttons := p.eval(t, `document.querySelectorAll("#gateways button, #connections td button, #node-action:not([hidden])").length`); buttons != "0" {
		t.Errorf("without allow_actions there are %s buttons", buttons)
	}
	p.soundly(t)

	g.reload(t, "respond 404")
	p.waitFor(t, `document.getElementById("link").textContent`, "reconnecting")
	p.waitFor(t, `document.getElementById("banners").textContent`, "The gateway does not answer since ")
	g.reload(t, site)
	p.waitFor(t, `document.getElementById("link").textContent`, "live")
	p.waitFor(t, `document.getElementById("banners").textContent.length`, "0")
}

// What strangers say is shown as text.
func TestStatusPageShowsStrangersAsText(t *testing.T) {
	const markup = `<img src=x onerror="document.title='gone wrong'"><b>bold</b>`
	b := newBackend(t, echo)
	g := start(t, "ws_gateway /ws "+b.addr+" {\n auth {\n token header\n bearer a-token-of-a-stranger `"+markup+"`\n }\n}\nws_gateway_status /live {\n allow_actions\n}")
	overWS.open(t, g, "/ws", bearer("a-token-of-a-stranger"))
	p := openStatus(t, "http://"+g.httpAddr+"/live")
	p.waitFor(t, `document.querySelector("#connections tbody th span").textContent`, markup)
	p.eval(t, `document.querySelectorAll("#connections td button")[1].click()`)
	p.waitFor(t, `document.getElementById("ask-title").textContent`, "Revoke "+markup)
	if n := p.eval(t, `document.querySelectorAll("img, main b:not(.plot b)").length`); n != "0" {
		t.Errorf("the page has %s elements of a stranger", n)
	}
	p.soundly(t)
}

// Where something in between lets no stream through, the page asks.
func TestStatusPageAsksWhereItIsNotTold(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway /ws "+b.addr+"\n@stream query view=events\nrespond @stream 503\nws_gateway_status /live")
	p := openStatus(t, "http://"+g.httpAddr+"/live")
	for n := range 2 {
		overWS.open(t, g, "/ws", nil)
		p.waitFor(t, `document.getElementById("connections-count").textContent`, fmt.Sprint(n+1, " connection"))
	}
}

// played shows the page of the quick start what the test says, and nothing else.
func played(t *testing.T) *page {
	t.Helper()
	g := quickstart(t)
	p := openStatus(t, "http://"+g.httpAddr+"/status")
	p.eval(t, `[link.source.close(), link.source = null, link.asking = true, link.retry = Infinity]`)
	p.eval(t, `window.play = (rows, addresses, matching, ended = []) => show({...shown, live: matching, matching,
		connections: rows.map(id => ({id, remote_ip: "192.0.2.1", upstream: "a:1"})), closed: ended.map(id => ({id})),
		gateways: [{name: "gw", upstreams: addresses.map(address => ({address, state: "ready", weight: 1, live: 1}))}]})`)
	return p
}

// A row that keeps its place, for the viewer is at it, is struck out only where its
// connection has ended: others may be busier by now. The rows that are kept are bounded.
func TestStatusPageStrikesOutWhatHasEnded(t *testing.T) {
	p := played(t)
	p.eval(t, `play(["one", "two", "three"], ["a:1"], 9)`)
	p.eval(t, `document.querySelector("#connections td button").focus()`)
	struck := `[...document.querySelectorAll("#connections tr.over th small")].map(cell => cell.textContent)`
	for _, row := range []struct{ play, want string }{
		{`play(["three", "four"], ["a:1"], 9)`, ""},
		{`play(["three", "four"], ["a:1"], 9, ["two"])`, "two"},
		{`play(["three", "four"], ["a:1"], 9)`, "two"}, // for good
		{`play(["three", "four"], ["a:1"], 2)`, "one,two"},
	} {
		p.eval(t, row.play)
		if got := p.eval(t, struck); got != row.want {
			t.Errorf("after %s, struck out are %q, want %q", row.play, got, row.want)
		}
	}
	p.eval(t, `Array.from({length: 500}, (_, i) => play(["n" + i, "m" + i], ["a:1"], 900))`)
	if n := p.eval(t, `document.querySelectorAll("#connections tbody tr").length`); n != "100" {
		t.Errorf("there are %s rows, want twice the limit", n)
	}
	p.waitFor(t, `document.activeElement.textContent`, "End")
	p.soundly(t)
}

func TestStatusPageKeepsTheFocusWhereOthersGo(t *testing.T) {
	p := played(t)
	p.eval(t, `play([], ["a:1", "b:1", "c:1"], 0)`)
	p.eval(t, `document.querySelectorAll("#gateways tbody tr")[2].querySelector("button").focus()`)
	p.waitFor(t, focused, "Drain c:1")
	p.eval(t, `play([], ["b:1", "c:1", "d:1"], 0)`)
	if at := p.eval(t, focused); at != "Drain c:1" {
		t.Errorf("the focus is on %.40q", at)
	}
	p.soundly(t)
}
