package integration

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTokenThatIsOfferedAloneIsRefusedWithASentence, since a browser takes no
// answer to it: it would leave, and nobody would know why.
func TestTokenThatIsOfferedAloneIsRefusedWithASentence(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, fmt.Sprintf(`ws_gateway %s {
		auth {
			token subprotocol
			token header
			bearer %s alice
		}
	}`, b.addr, subprotocolSafe))
	n := 0
	eachCarrier(t, func(t *testing.T, c carrier) {
		for _, header := range []http.Header{
			{"Sec-WebSocket-Protocol": {"bearer." + subprotocolSafe}},
			{"Sec-WebSocket-Protocol": {"bearer." + subprotocolSafe + ", " + subprotocolSafe}},
			{"Sec-WebSocket-Protocol": {"bearer."}, "Authorization": {"Bearer " + subprotocolSafe}},
		} {
			c.refused(t, g, "/ws", header, 400)
			n++
			line := book.wait(t, "refused", n)
			if reason := line.str("reason"); !strings.Contains(reason, "offer the marker and the token as two") || line.str("result") != "bad_request" {
				t.Errorf("%s: %q", line.str("result"), reason)
			}
		}
		c.refused(t, g, "/ws", http.Header{"Sec-WebSocket-Protocol": {"bearer.bad"}}, 401)
		n++
	})
	if b.count(&b.accepted) != 0 {
		t.Errorf("the backend was dialed and got %q", b.receivedBytes())
	}
	assertHidden(t, g, b, subprotocolSafe)
}

const formsPage = `<!doctype html><title>waiting</title><script>
const forms = FORMS;
const attempt = (i) => {
	const ws = new WebSocket(location.href.replace("http", "ws").replace("page", "ws"), forms[i]);
	const say = (text) => {
		const p = document.createElement("p");
		p.id = "form" + i;
		p.textContent = text;
		document.body.append(p);
	};
	ws.onopen = () => { say("open " + ws.protocol); ws.close(1000); };
	ws.onerror = () => say("error");
};
onload = () => { for (let i = 0; i < forms.length; i++) attempt(i); };
</script><body></body>`

// TestFormsThatABrowserMayOffer are those that docs/authentication.md shows.
func TestFormsThatABrowserMayOffer(t *testing.T) {
	const kubernetes = "base64url.bearer.authorization.k8s.io."
	encoded := b64([]byte(secret))
	forms := []struct{ offer, want string }{
		{`["bearer", "` + subprotocolSafe + `"]`, "open bearer"},
		{`["Bearer", "` + subprotocolSafe + `"]`, "open Bearer"},
		{`["bearer", "` + subprotocolSafe + `", "chat"]`, "open chat"},
		{`["chat", "bearer.` + subprotocolSafe + `"]`, "open chat"},
		{`["bearer.` + subprotocolSafe + `"]`, "error"},
		{`["` + kubernetes + encoded + `", "base64.binary.k8s.io"]`, "open base64.binary.k8s.io"},
		{`["` + kubernetes + `", "` + encoded + `"]`, "open " + kubernetes},
		{`["` + kubernetes + encoded + `"]`, "error"},
	}
	offers := make([]string, len(forms))
	for i, form := range forms {
		offers[i] = form.offer
	}
	dir := t.TempDir()
	page := strings.Replace(formsPage, "FORMS", "["+strings.Join(offers, ",")+"]", 1)
	if err := os.WriteFile(filepath.Join(dir, "page"), []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBackend(t, handOver())
	g := start(t, fmt.Sprintf(`ws_gateway /ws %s {
		auth {
			token subprotocol
			token subprotocol %s base64url
			bearer %s alice
			bearer %q bob
		}
	}
	header Content-Type text/html
	root %s
	file_server`, b.addr, kubernetes, subprotocolSafe, secret, dir))
	p := openPage(t, "http://"+g.httpAddr+"/page")
	for i, form := range forms {
		got := p.waitFor(t, fmt.Sprintf(`document.getElementById("form%d")?.textContent`, i), "o") // of open or error
		if got != form.want {
			t.Errorf("%s: %q, want %q", form.offer, got, form.want)
		}
	}
	assertHidden(t, g, b, subprotocolSafe)
	assertHidden(t, g, b, encoded)
}
