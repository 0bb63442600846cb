package integration

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// mountedSecret is a directory as Kubernetes mounts a secret: the files are links
// into a directory that is a link itself, which is what moves.
type mountedSecret struct {
	dir     string
	version int
}

// set moves to other contents of the files, all at once.
func (m *mountedSecret) set(t *testing.T, files map[string]string) {
	t.Helper()
	old := fmt.Sprintf("..version%d", m.version)
	m.version++
	now := fmt.Sprintf("..version%d", m.version)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.Mkdir(filepath.Join(m.dir, now), 0o700))
	for name, content := range files {
		check(os.WriteFile(filepath.Join(m.dir, now, name), []byte(content), 0o600))
	}
	check(os.Symlink(now, filepath.Join(m.dir, "..data_tmp")))
	check(os.Rename(filepath.Join(m.dir, "..data_tmp"), filepath.Join(m.dir, "..data")))
	check(os.RemoveAll(filepath.Join(m.dir, old)))
	for name := range files {
		if _, err := os.Lstat(filepath.Join(m.dir, name)); err != nil {
			check(os.Symlink(filepath.Join("..data", name), filepath.Join(m.dir, name)))
		}
	}
}

// keyedToken is a token of alice, by the key with an ID.
func keyedToken(kid, secret string) string {
	signed := b64([]byte(`{"alg":"HS256","kid":"`+kid+`"}`)) + "." + b64([]byte(soonClaims()))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + b64(mac.Sum(nil))
}

func setOf(kid, secret string) string {
	return `{"keys":[{"kty":"oct","kid":"` + kid + `","k":"` + base64.RawURLEncoding.EncodeToString([]byte(secret)) + `"}]}`
}

// TestSecretsRotateWithoutAReload ends what the old ones let in within 15 seconds,
// as a reload does, but for keys inside of a set.
func TestSecretsRotateWithoutAReload(t *testing.T) {
	long(t)
	const firstKey, secondKey = "the first key has 32 bytes and more", "the second key has 32 bytes and more"
	m := &mountedSecret{dir: t.TempDir()}
	m.set(t, map[string]string{"token": "first-token-of-alice\n", "key": firstKey, "set": setOf("a", firstKey+"a"), "stays": "token-that-stays-on\n"})
	b := newBackend(t, echo)
	g := start(t, fmt.Sprintf(`ws_gateway %s {
		auth {
			renew /renew
			bearer {file.%[2]s/token} alice
			bearer {file.%[2]s/stays} bob
			jwt {
				key {file.%[2]s/key}
				jwks %[2]s/set
			}
		}
	}`, b.addr, m.dir))
	bySet := keyedToken("a", firstKey+"a")
	byToken, byKey, bySetKey, stays := overWS.open(t, g, "/ws", bearer("first-token-of-alice")), overH2.open(t, g, "/ws", bearer(hmacToken(firstKey, soonClaims()))),
		overWS.open(t, g, "/ws", bearer(bySet)), overWS.open(t, g, "/ws", bearer("token-that-stays-on"))
	m.set(t, map[string]string{"token": "\ufeffsecond-token-of-alice\r\n\r\n", "key": secondKey + "\n", "set": setOf("b", secondKey+"b"), "stays": "token-that-stays-on\r\n"})
	began := time.Now()
	byToken.expectClose(t, 3000)
	byKey.expectClose(t, 3000)
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("ended %s after the change", took)
	} else {
		t.Logf("ended %s after the change", took)
	}
	bySetKey.ping(t, "its set is still there")
	stays.ping(t, "and so is its token")
	for token, status := range map[string]int{
		"second-token-of-alice":            101,
		hmacToken(secondKey, soonClaims()): 101,
		keyedToken("b", secondKey+"b"):     101,
		"first-token-of-alice":             401,
		hmacToken(firstKey, soonClaims()):  401,
		bySet:                              401,
	} {
		if a := overWS.do(t, g, "/ws", bearer(token)); a.status != status {
			t.Errorf("%.30s: status %d, want %d", token, a.status, status)
		}
	}
	if err := os.RemoveAll(filepath.Join(m.dir, "..data")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "four warnings", func() bool {
		n := 0
		for _, line := range book.find(ourLogger, "what a file holds cannot be used: what it held before stays in force") {
			if line.str("level") == "warn" {
				n++
			}
		}
		return n == 4*2 // there are two sites
	})
	stays.ping(t, "what was there last stays")
	overWS.open(t, g, "/ws", bearer("second-token-of-alice")).ping(t, "hello")
}

// TestSecretOfATokenProviderRotates too.
func TestSecretOfATokenProviderRotates(t *testing.T) {
	long(t)
	m := &mountedSecret{dir: t.TempDir()}
	m.set(t, map[string]string{"token": "first-token-of-alice"})
	b := newBackend(t, echo)
	g := start(t, "ws_token {\n bearer {file."+m.dir+"/token} alice\n }\nreverse_proxy "+b.addr)
	m.set(t, map[string]string{"token": "second-token-of-alice"})
	eventually(t, "the second token", func() bool { return g.get(t, "/", bearer("second-token-of-alice")).status == 200 })
	if a := g.get(t, "/", bearer("first-token-of-alice")); a.status != 401 {
		t.Errorf("the first token: status %d", a.status)
	}
}
