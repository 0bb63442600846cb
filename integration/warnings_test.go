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
