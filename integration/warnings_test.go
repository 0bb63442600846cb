package integration

import (
	"fmt"
	"strings"
	"testing"
)

// TestShortTokensAreWarnedOfAtEveryLoad writes short and long tokens in every
// way in which a configuration may hold one.
func TestShortTokensAreWarnedOfAtEveryLoad(t *testing.T) {
	t.Setenv("WSGW_TEST_SHORT", "fifteen-bytes-x")
	t.Setenv("WSGW_TEST_LONG", "sixteen-bytes-xy")
	site := fmt.Sprintf(`ws_gateway %s {
		auth {
			bearer {env.WSGW_TEST_SHORT} env
			bearer {env.WSGW_TEST_LONG}
			bearer {$WSGW_TEST_UNSET} moved-up
			bearer a-token-that-is-long-enough bob
		}
	}`, newBackend(t, echo).addr)
	g := start(t, site)
	const message = "a static token has fewer than 16 bytes"
	for load := 1; load <= 3; load++ {
		var found []logLine
		for _, line := range book.find(ourLogger, "") {
			if strings.HasPrefix(line.str("msg"), message) {
				found = append(found, line)
			}
			if strings.Contains(line.raw, "fifteen-bytes") || strings.Contains(line.raw, "moved-up") {
				t.Errorf("the token is in %s", line.raw)
			}
		}
		// Each of the two sites has the handler.
		if len(found) != 2*load {
			t.Fatalf("%d warnings after %d loads", len(found), load)
		}
		for _, line := range found {
			if line.str("level") != "warn" || fmt.Sprint(line.fields["fields"]) != "[auth.bearer[0] auth.bearer[2]]" {
				t.Errorf("got %s", line.raw)
			}
		}
		g.reload(t, site)
	}
}

// TestTokensThatNoBrowserCanOfferAreWarnedOf where they may come as a subprotocol.
func TestTokensThatNoBrowserCanOfferAreWarnedOf(t *testing.T) {
	t.Setenv("WSGW_TEST_SLASH", "abc/def/ghi/jkl/mno")
	tokens := "bearer sixteen-bytes-and-more\n bearer sixteen+bytes=and=more\n bearer {env.WSGW_TEST_SLASH}\n bearer \"sixteen bytes and more\""
	for carriers, want := range map[string]string{
		"token header\n token subprotocol":   "[auth.bearer[1] auth.bearer[2] auth.bearer[3]]",
		"token header":                       "",
		"token subprotocol bearer base64url": "",
	} {
		start(t, fmt.Sprintf("ws_gateway %s {\n auth {\n %s\n %s\n }\n }", newBackend(t, echo).addr, carriers, tokens))
		said := ""
		for _, line := range book.find(ourLogger, "") {
			if msg := line.str("msg"); strings.Contains(msg, "no browser can offer") && strings.Contains(msg, "base64url") && strings.Contains(msg, "hexadecimal") {
				said = fmt.Sprint(line.fields["fields"])
			}
			if strings.Contains(line.raw, "sixteen") || strings.Contains(line.raw, "abc/def") {
				t.Errorf("the token is in %s", line.raw)
			}
		}
		if said != want {
			t.Errorf("%s: said of %q, want %q", carriers, said, want)
		}
	}
}
