package integration

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// renewalSites are handlers without a name, so that all share one, before two
// upstreams.
func renewalSites(one, two string) string {
	return fmt.Sprintf(`ws_gateway /jwt* %[1]s {
		auth {
			renew /jwt/renew
			bearer endless-alice alice
			jwt {
				key %[3]q
				leeway 0s
			}
		}
	}
	ws_gateway /machine* %[1]s {
		auth {
			renew /machine/renew
			bearer machine-alice alice
		}
	}
	ws_gateway /issuer* %[1]s {
		auth {
			renew /issuer/renew
			jwt {
				key "another shared secret of 32 bytes"
			}
		}
	}
	ws_gateway /elsewhere* %[2]s {
		auth {
			renew /elsewhere/renew
			bearer elsewhere-alice alice
			jwt {
				key %[3]q
			}
		}
	}
	handle /login* {
		basic_auth {
			alice %[4]s
		}
		ws_gateway %[2]s {
			auth {
				inherit
				renew /login/renew
			}
		}
	}
	handle /same* {
		basic_auth {
			alice %[4]s
		}
		ws_gateway %[1]s {
			auth {
				inherit
				renew /same/renew
			}
		}
	}`, one, two, jwtSecret, bcryptOfSecret)
}

// TestRenewalIsBoundToWhatLetTheConnectionIn whatever handler of the same name,
// and whatever user of the same ID, asks for it.
func TestRenewalIsBoundToWhatLetTheConnectionIn(t *testing.T) {
	one, two := newBackend(t, echo), newBackend(t, echo)
	g := start(t, renewalSites(one.addr, two.addr))
	login := http.Header{
		"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("alice:secret"))},
		"Origin":        {"http://" + g.httpAddr},
	}
	const life = 5 * time.Second // in which all that follows is asked for
	long := bearer(tokenFor("alice", time.Hour))
	rows := []struct {
		name, path string
		credential http.Header
		status     int
	}{
		{"a login that leads elsewhere", "/login/renew", login, 404},
		{"a static token that leads elsewhere", "/elsewhere/renew", bearer("elsewhere-alice"), 404},
		{"the same key, which leads elsewhere here", "/elsewhere/renew", long, 404},
		{"a login for the same upstream", "/same/renew", login, 403},
		{"a static token for the same upstream", "/machine/renew", bearer("machine-alice"), 403},
		{"another issuer's user for the same upstream", "/issuer/renew", bearer(hmacToken("another shared secret of 32 bytes", soonClaims())), 403},
		{"a token without an end", "/jwt/renew", bearer("endless-alice"), 403},
	}
	began := time.Now()
	conns := make([]*wsConn, len(rows))
	for i := range rows {
		conns[i] = overWS.open(t, g, "/jwt", bearer(tokenFor("alice", life)))
	}
	renewed := overWS.open(t, g, "/jwt", bearer(tokenFor("alice", life)))
	book.wait(t, "opened", len(rows)+1)
	post := func(name, path, id string, credential http.Header, status int) {
		t.Helper()
		if a := g.send(t, http.MethodPost, path+"?connection="+id, credential, ""); a.status != status {
			t.Errorf("%s: status %d, want %d: %s", name, a.status, status, a.body)
		}
	}
	for i, row := range rows {
		post(row.name, row.path, conns[i].header.Get("Ws-Gateway-Connection"), row.credential, row.status)
	}
	post("its own", "/jwt/renew", renewed.header.Get("Ws-Gateway-Connection"), long, 204)
	for i, row := range rows {
		f, err := conns[i].closeFrame()
		if err != nil || f.closeCode() != 3000 || string(f.payload[2:]) != "token expired" {
			t.Errorf("%s: closed with %v (%v), want by the end of its own token", row.name, f, err)
		}
	}
	if took := time.Since(began); took < life-time.Millisecond {
		t.Errorf("closed after %s, want %s", took, life)
	}
	renewed.ping(t, "lives")
	renewed.finish(t)
}

// TestEndlessConnectionTakesTheEndOfARenewal and keeps it.
func TestEndlessConnectionTakesTheEndOfARenewal(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, renewalSites(b.addr, b.addr))
	conn := overWS.open(t, g, "/jwt", bearer("endless-alice"))
	book.wait(t, "opened", 1)
	for _, row := range []struct {
		token  string
		status int
	}{
		{"endless-alice", 204},
		{shortLived(), 204},
		{"endless-alice", 403},
	} {
		path := "/jwt/renew?connection=" + conn.header.Get("Ws-Gateway-Connection")
		if a := g.send(t, http.MethodPost, path, bearer(row.token), ""); a.status != row.status {
			t.Errorf("%.20s: status %d, want %d: %s", row.token, a.status, row.status, a.body)
		}
	}
	conn.expectClose(t, 3000)
}

// TestReloadWithoutInheritEndsWhatItLetIn as it does for any other credential.
func TestReloadWithoutInheritEndsWhatItLetIn(t *testing.T) {
	b := newBackend(t, echo)
	site := func(words string) string {
		return "basic_auth {\n alice " + bcryptOfSecret + "\n }\nws_gateway " + b.addr + " {\n auth {\n " + words + "\n }\n }"
	}
	g := start(t, site("inherit"))
	login := http.Header{
		"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("alice:secret"))},
		"Origin":        {"http://" + g.httpAddr},
	}
	conn := overWS.open(t, g, "/ws", login)
	g.reload(t, site("inherit\nbearer machine-token"))
	conn.ping(t, "still accepted")
	g.reload(t, site("bearer machine-token"))
	conn.expectClose(t, 3000)
}

// TestRenewalAfterAReload goes by what the new configuration lets in.
func TestRenewalAfterAReload(t *testing.T) {
	b := newBackend(t, echo)
	site := func(keys string) string {
		return "ws_gateway " + b.addr + " {\n auth {\n optional\n renew /renew\n jwt {\n leeway 0s\n " + keys + "\n }\n }\n }"
	}
	const secondKey = "another shared secret of 32 bytes"
	first, second := fmt.Sprintf("key %q\n", jwtSecret), fmt.Sprintf("key %q\n", secondKey)
	g := start(t, site(first))
	conn := overWS.open(t, g, "/ws", bearer(tokenFor("alice", time.Minute)))
	anonymous := overWS.open(t, g, "/ws", nil)
	book.wait(t, "opened", 2)
	post := func(conn *wsConn, credential http.Header, status int) {
		t.Helper()
		path := "/renew?connection=" + conn.header.Get("Ws-Gateway-Connection")
		if a := g.send(t, http.MethodPost, path, credential, ""); a.status != status {
			t.Errorf("status %d, want %d: %s", a.status, status, a.body)
		}
	}
	byFirst, bySecond := bearer(tokenFor("alice", time.Hour)), bearer(hmacToken(secondKey, soonClaims()))
	post(conn, bySecond, 401)
	post(conn, nil, 401)
	post(anonymous, byFirst, 403)
	g.reload(t, site(first+second))
	post(conn, bySecond, 204)
	g.reload(t, site(second)) // takes out what let it in, but not what it stands on now
	conn.ping(t, "lives")
	post(conn, byFirst, 401)
	anonymous.ping(t, "lives")
	anonymous.finish(t)
	conn.finish(t)
}
