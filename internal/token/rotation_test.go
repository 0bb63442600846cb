package token

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// rotating is a Verifier whose files are looked at, in a bubble of fake time.
type rotating struct {
	*Verifier

	logs  *observer.ObservedLogs
	moves int
}

func newRotating(t *testing.T, options *Options) *rotating {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	options.Resolve, options.FilesIn, options.Logger = resolve, filesIn, zap.New(core)
	r := &rotating{Verifier: mustNew(t, options), logs: logs}
	logs.TakeAll() // of short secrets
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r.Watch(ctx, func(_ []string, apply func()) {
		r.moves++
		apply()
	})
	return r
}

// expect holds which users pass, by their tokens; "" is nobody.
func (r *rotating) expect(t *testing.T, when string, want map[string]string) {
	t.Helper()
	for token, user := range want {
		g, err := r.verifyHere(t.Context(), token, noon)
		switch {
		case user == "" && err == nil:
			t.Errorf("%s, %.20s passes as %q", when, token, g.UserID)
		case user != "" && (err != nil || g.UserID != user):
			t.Errorf("%s, %.20s does not pass as %q: %v", when, token, user, err)
		}
	}
}

// lines counts what was logged with a word, and leaves it behind.
func (r *rotating) lines(t *testing.T, level zapcore.Level, want int) {
	t.Helper()
	all := r.logs.TakeAll()
	n := 0
	for _, line := range all {
		if line.Level == level {
			n++
		}
	}
	if n != want {
		t.Errorf("%d lines of level %s, want %d: %v", n, level, want, all)
	}
}

// pass lets time pass, and a look that is due then be over.
func pass(d time.Duration) {
	bubble.Elapse(d)
	synctest.Wait()
}

const twoLooks = 2 * rotationInterval

// TestTokenInAFileIsTakenOverWhenItChanges as soon as it stays the same for two
// looks, which is within 15 seconds.
func TestTokenInAFileIsTakenOverWhenItChanges(t *testing.T) {
	t.Parallel()
	if twoLooks+rotationInterval > 15*time.Second {
		t.Errorf("a change may take %s", twoLooks+rotationInterval)
	}
	name := writeFile(t, "token", "first-token-of-16\n")
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t, &Options{Static: []Static{{Token: "{file." + name + "}", UserID: "alice"}, {Token: "written-out-token", UserID: "bob"}}})
		old, next := map[string]string{"first-token-of-16": "alice", "second-token-of-16": ""}, map[string]string{"first-token-of-16": "", "second-token-of-16": "alice", "written-out-token": "bob"}
		r.expect(t, "at first", old)
		pass(time.Hour)
		r.lines(t, zapcore.InfoLevel, 0)

		writeFile(t, name, "second-tok") // half written, at a look
		pass(rotationInterval)
		r.expect(t, "half written", old)
		writeFile(t, name, "second-token-of-16")
		pass(rotationInterval)
		r.expect(t, "seen once", old)
		pass(rotationInterval)
		r.expect(t, "seen twice", next)
		if r.moves != 1 {
			t.Errorf("moved %d times", r.moves)
		}
		r.lines(t, zapcore.InfoLevel, 1)

		for what, spoil := range map[string]func(){
			"gone":      func() { _ = os.Remove(name) },
			"empty":     func() { writeFile(t, name, "") },
			"UTF-16":    func() { writeFile(t, name, "\xff\xfex\x00") },
			"two lines": func() { writeFile(t, name, "second-token-of-16\nand a third") },
			"a folder":  func() { _ = os.Remove(name); _ = os.Mkdir(name, 0o700) },
		} {
			spoil()
			pass(time.Minute)
			r.expect(t, what, next)
			r.lines(t, zapcore.WarnLevel, 1)
			_ = os.Remove(name)
			writeFile(t, name, "second-token-of-16\r\n")
			pass(time.Minute)
			r.lines(t, zapcore.InfoLevel, 1)
		}
		if r.moves != 1 {
			t.Errorf("moved %d times", r.moves)
		}
		writeFile(t, name, "short")
		pass(twoLooks)
		r.expect(t, "short", map[string]string{"short": "alice", "second-token-of-16": ""})
	})
}

// TestRotationOfOneFileDoesNotWaitForAnother that cannot be used.
func TestRotationOfOneFileDoesNotWaitForAnother(t *testing.T) {
	t.Parallel()
	one, two := writeFile(t, "one", "token-number-one"), writeFile(t, "two", "token-number-two")
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t, &Options{Static: []Static{{Token: "{file." + one + "}", UserID: "a"}, {Token: "{file." + two + "}", UserID: "b"}}})
		_ = os.Remove(one)
		writeFile(t, two, "token-number-three")
		pass(twoLooks)
		r.expect(t, "one is gone", map[string]string{"token-number-one": "a", "token-number-two": "", "token-number-three": "b"})
		writeFile(t, one, "token-number-three") // somebody else's
		pass(twoLooks)
		r.expect(t, "two of one", map[string]string{"token-number-one": "a", "token-number-three": "b"})
		writeFile(t, two, "token-number-four")
		pass(twoLooks + rotationInterval)
		r.expect(t, "not any more", map[string]string{"token-number-one": "", "token-number-three": "a", "token-number-four": "b"})
	})
}

// TestTokenHandsOverToTheNext through a second file, which holds the last one, in
// whatever order they are written and looked at.
func TestTokenHandsOverToTheNext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	current, last := filepath.Join(dir, "current"), filepath.Join(dir, "last")
	for _, order := range [][]string{{current, last}, {last, current}} {
		writeFile(t, current, "the-token-of-monday")
		writeFile(t, last, "the-token-of-monday")
		synctest.Test(t, func(t *testing.T) {
			var tokens []Static
			for _, name := range order {
				tokens = append(tokens, Static{Token: "{file." + name + "}", UserID: "svc"})
			}
			r := newRotating(t, &Options{Static: tokens})
			writeFile(t, current, "the-token-of-tuesday")
			pass(twoLooks)
			r.expect(t, "on tuesday", map[string]string{"the-token-of-monday": "svc", "the-token-of-tuesday": "svc"})
			writeFile(t, last, "the-token-of-tuesday")
			writeFile(t, current, "the-token-of-wednesday")
			pass(twoLooks)
			r.expect(t, "on wednesday", map[string]string{"the-token-of-monday": "", "the-token-of-tuesday": "svc", "the-token-of-wednesday": "svc"})
			r.lines(t, zapcore.WarnLevel, 0)
		})
	}
	if _, err := newStaticTokens([]Static{{Token: "written-out-token", UserID: "a"}, {Token: "written-out-token", UserID: "a"}}); err == nil {
		t.Error("the same token, written out twice, is accepted")
	}
}

// TestKeyInAFileIsTakenOverWhenItChanges be it a secret, PEM or a set.
func TestKeyInAFileIsTakenOverWhenItChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret, pem, set := filepath.Join(dir, "secret"), filepath.Join(dir, "pem"), filepath.Join(dir, "set")
	jwks := func(secret string) string {
		return `{"keys":[{"kty":"oct","kid":"` + secret[:3] + `","k":"` + strictBase64.EncodeToString([]byte(secret)) + `"}]}`
	}
	inSet, nextInSet := strings.Repeat("one", 12), strings.Repeat("two", 12)
	writeFile(t, secret, publicText(t, "HS256"))
	writeFile(t, pem, publicText(t, "ES256"))
	writeFile(t, set, jwks(inSet))
	by := func(algorithm string) string { return signJWT(t, algorithm, nil, soundClaims) }
	bySecret := func(secret string) string { return signJWTWith(t, []byte(secret), "HS256", nil, soundClaims) }
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t, &Options{JWT: &JWT{
			Keys: []Key{{Key: "{file." + secret + "}"}, {Key: publicText(t, "RS256")}, {Key: "{file." + pem + "}", Algorithms: []string{"ES256"}}},
			JWKS: []KeySetPlace{{Place: set}},
		}})
		before := r.Credentials()
		r.expect(t, "at first", map[string]string{by("HS256"): "alice", by("ES256"): "alice", bySecret(inSet): "alice", by("RS256"): "alice", bySecret(nextInSet): "", bySecret("another secret that has 32 bytes"): ""})
		writeFile(t, secret, "another secret that has 32 bytes\r\n")
		writeFile(t, set, "\ufeff"+jwks(nextInSet)+"\r\n")
		writeFile(t, pem, publicText(t, "ES384")) // of another curve, which ES256 is not for
		pass(twoLooks)
		r.expect(t, "after a change", map[string]string{by("HS256"): "", by("ES256"): "alice", bySecret(inSet): "", by("RS256"): "alice", bySecret(nextInSet): "alice", bySecret("another secret that has 32 bytes"): "alice"})
		r.lines(t, zapcore.WarnLevel, 1)
		after := r.Credentials()
		if before[0] == after[0] || before[1] != after[1] || before[3] != after[3] || len(after) != 4 {
			t.Errorf("credentials were %q and are %q", before, after)
		}
		writeFile(t, set, "[]")
		writeFile(t, pem, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
		pass(time.Minute)
		r.expect(t, "after a mistake", map[string]string{by("ES256"): "alice", bySecret(nextInSet): "alice"})
		r.lines(t, zapcore.WarnLevel, 2)
		if text := fmt.Sprint(r.logs.All()); strings.Contains(text, "another secret") {
			t.Errorf("a secret is in the log: %s", text)
		}
	})
}

// TestPanicInALookIsContained and the next look comes.
func TestPanicInALookIsContained(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		all := []*rotation{{field: "x", text: func() (string, error) {
			if looks++; looks == 1 {
				panic("boom")
			}
			return "", errors.New("unreadable")
		}}}
		ctx, cancel := context.WithCancel(t.Context())
		core, logs := observer.New(zapcore.WarnLevel)
		caught := 0
		f := &follower{all: all, logger: zap.New(core), reportPanic: func(*panics.Panic) { caught++ }}
		go f.watch(ctx, func() *material { return new(material) }, func(*material) {})
		pass(2 * rotationInterval)
		if looks != 2 || logs.Len() != 1 || caught != 1 {
			t.Errorf("looked %d times, with %d lines and %d panics", looks, logs.Len(), caught)
		}
		cancel()
	})
}

// TestWhatCanBeReadOnceIsReadOnce as a secret that comes through a pipe.
func TestWhatCanBeReadOnceIsReadOnce(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "pipe")
	if err := exec.Command("mkfifo", name).Run(); err != nil { // #nosec G204 -- as a shell does for <(command)
		t.Skipf("mkfifo: %v", err)
	}
	written := make(chan error, 1)
	go func() { written <- os.WriteFile(name, []byte("token-through-a-pipe\n"), 0o600) }()
	options := testOptions()
	options.Static = []Static{{Token: "{file." + name + "}", UserID: "alice"}}
	v, err := New(*options)
	if err != nil || v.current.Load().static.verify("token-through-a-pipe") == nil || len(v.files.all) != 0 {
		t.Errorf("%v: %+v", err, v)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
	r := &rotation{files: []string{name}, text: func() (string, error) { return ReadSecretFile(name) }}
	if _, err := r.read(); err == nil {
		t.Error("a file that has become a pipe is read")
	}
}

// TestSpellingOfAKeySetsNameIsNoCredential so that a reload may change it.
func TestSpellingOfAKeySetsNameIsNoCredential(t *testing.T) {
	t.Parallel()
	same := (&keyFile{name: "testdata/keys.json"}).credential()
	for name, want := range map[string]bool{"./testdata/keys.json": true, "testdata//keys.json": true, "testdata/others.json": false} {
		if got := (&keyFile{name: name}).credential() == same; got != want {
			t.Errorf("%s: the same is %t", name, got)
		}
	}
}
