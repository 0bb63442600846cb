package wsgateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

var update = flag.Bool("update", false, "write what was adapted into the golden files")

const (
	goldenDir       = "testdata/caddyfile"
	goldenSuffix    = ".caddyfiletest"
	goldenSeparator = "----------\n"
)

func TestCaddyfileAdaptsToGoldenJSON(t *testing.T) {
	prepareValidation(t)
	for _, file := range goldenFiles(t, goldenDir) {
		t.Run(goldenName(file), func(t *testing.T) {
			input, want := readGolden(t, file)
			got, err := adaptAndValidate(input)
			if err != nil {
				t.Fatal(err)
			}
			var indented bytes.Buffer
			if err := json.Indent(&indented, got, "", "\t"); err != nil {
				t.Fatal(err)
			}
			indented.WriteByte('\n')
			if writeGolden(t, file, input, indented.String()) {
				return
			}
			if indented.String() != want {
				t.Errorf("got:\n%s\nwant:\n%s", indented.String(), want)
			}
		})
	}
}

// secretWord is what a Caddyfile holds and an error must not show.
var secretWord = regexp.MustCompile(`(?:bearer|key) "?([A-Za-z0-9:-]{6,})`)

func TestCaddyfileMistakesAreExplained(t *testing.T) {
	prepareValidation(t)
	files := goldenFiles(t, filepath.Join(goldenDir, "errors"))
	if len(files) < 20 {
		t.Errorf("found %d wrong configurations, want at least 20", len(files))
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	here := dir + string(filepath.Separator) // schemas are named with their whole path
	for _, file := range files {
		t.Run(goldenName(file), func(t *testing.T) {
			input, want := readGolden(t, file)
			_, err := adaptAndValidate(input)
			if err == nil {
				t.Fatal("accepted")
			}
			got := strings.ReplaceAll(err.Error(), here, "")
			if writeGolden(t, file, input, got+"\n") {
				return
			}
			if want = strings.TrimSpace(want); want == "" || !strings.Contains(got, want) {
				t.Errorf("got the error:\n%s\nwant in it:\n%s", got, want)
			}
			for _, secret := range secretWord.FindAllStringSubmatch(input, -1) {
				if strings.Contains(err.Error(), secret[1]) {
					t.Errorf("the error shows %q: %s", secret[1], err)
				}
			}
		})
	}
}

// A word without a golden file would be a word that nobody has seen adapted.
func TestEveryWordHasAGoldenFile(t *testing.T) {
	t.Parallel()
	accepted := append([]string{"ws_echo", "ws_token", "websocket", "ws_gateway_draining"}, slices.Collect(maps.Keys(gatewayWords))...)
	for word := range limitWords {
		accepted = append(accepted, "limit_"+word)
	}
	for word := range logSamplingWords {
		accepted = append(accepted, "log_sampling_"+word)
	}
	accepted = append(accepted, slices.Collect(maps.Keys(appWords))...)
	for _, handler := range registered(messagesNamespace) {
		accepted = append(accepted, "messages_"+handler)
	}
	for _, word := range accepted {
		if _, err := os.Stat(filepath.Join(goldenDir, word+goldenSuffix)); err != nil {
			t.Error(err)
		}
	}
	for word := range refusedWords {
		if _, err := os.Stat(filepath.Join(goldenDir, "errors", word+goldenSuffix)); err != nil {
			t.Error(err)
		}
	}
}

func TestExamplesAreValid(t *testing.T) {
	prepareValidation(t)
	files, err := filepath.Glob("examples/*.Caddyfile")
	if err != nil || len(files) == 0 {
		t.Fatalf("found no examples: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			input, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := adaptAndValidate(string(input)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTokenInCaddyfileDoesNotReachTheConfiguration(t *testing.T) {
	t.Parallel()
	config, err := adapt(":8080\nws_gateway localhost:9001 {\n\tauth {\n\t\tbearer c0rrect-h0rse alice\n\t}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(config, []byte("c0rrect")) {
		t.Errorf("the token is in %s", config)
	}
}

func TestSplitWordsKeepsOtherTokensInOrder(t *testing.T) {
	t.Parallel()
	d := caddyfile.NewTestDispenser(`ws_gateway a b {
		to name
		name x
		transport http {
			name y
			inner {
				auth z
			}
		}
		auth {
			bearer t
		}
		header_up "{" "}"
		name {
		}
	}`)
	d.Next()
	ours, theirs := splitWords(d)

	wantTheirs := `ws_gateway a b { to name transport http { name y inner { auth z } } header_up { } }`
	if got := tokenText(theirs); got != wantTheirs {
		t.Errorf("reverse_proxy is given\n%s\nwant\n%s", got, wantTheirs)
	}
	wantOurs := []string{"name x", "auth { bearer t }", "name { }"}
	got := make([]string, 0, len(ours))
	for _, word := range ours {
		got = append(got, tokenText(word))
	}
	if !slices.Equal(got, wantOurs) {
		t.Errorf("got %q, want %q", got, wantOurs)
	}
}

// FuzzCaddyfile holds that no Caddyfile makes the parser panic, and that what
// it accepts is a configuration that means the same when it is read again.
func FuzzCaddyfile(f *testing.F) {
	for _, file := range append(goldenFiles(f, goldenDir), goldenFiles(f, filepath.Join(goldenDir, "errors"))...) {
		input, _ := readGolden(f, file)
		f.Add(input)
	}
	f.Add(":1\nws_gateway a {\n{\n}\n}")
	f.Add(":1\nws_gateway a {\nname {\n} name\n}")
	f.Fuzz(func(t *testing.T, input string) {
		if strings.Contains(input, "import") {
			t.Skip() // would read files
		}
		config, err := adapt(input)
		if err != nil {
			return
		}
		var tree any
		if err := json.Unmarshal(config, &tree); err != nil {
			t.Fatalf("adapted to no JSON: %v", err)
		}
		for _, raw := range findGateways(tree) {
			checkRoundTrip(t, raw)
		}
	})
}

// checkRoundTrip fails the test unless a handler reads its own JSON, strictly,
// and writes the same.
func checkRoundTrip(t *testing.T, config map[string]any) {
	t.Helper()
	delete(config, "handler") // Caddy takes it away before decoding
	before, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	gateway := new(Handler)
	if err := caddy.StrictUnmarshalJSON(before, gateway); err != nil {
		t.Fatalf("reading %s: %v", before, err)
	}
	written, err := json.Marshal(gateway)
	if err != nil {
		t.Fatal(err)
	}
	var after map[string]any
	if err := json.Unmarshal(written, &after); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(config, after) {
		t.Errorf("read\n%s\nand wrote\n%s", before, written)
	}
}

// findGateways returns the ws_gateway handlers in a configuration. Those
// inside another gateway are part of that one.
func findGateways(tree any) (found []map[string]any) {
	switch node := tree.(type) {
	case map[string]any:
		if node["handler"] == "ws_gateway" {
			return []map[string]any{node}
		}
		for _, child := range node {
			found = append(found, findGateways(child)...)
		}
	case []any:
		for _, child := range node {
			found = append(found, findGateways(child)...)
		}
	}
	return found
}

// prepareValidation gives the secrets that the configurations name, and keeps
// Caddy's storage out of the home directory.
func prepareValidation(t *testing.T) {
	t.Helper()
	t.Setenv("WS_TOKEN", "a token")
	t.Setenv("SESSION_TOKEN", "another token")
	t.Setenv("JWT_TEST_SECRET", strings.Repeat("s", 48))
	t.Setenv("REDIS_PASSWORD", "a-password")
	t.Setenv("FLEET_SECRET", "a secret of the fleet")
	t.Setenv("JWT_SECRET", strings.Repeat("s", 48))
	home := caddy.DefaultStorage.Path
	caddy.DefaultStorage.Path = t.TempDir()
	t.Cleanup(func() { caddy.DefaultStorage.Path = home })
}

// adapt turns a Caddyfile into JSON; a warning counts as an error.
func adapt(input string) ([]byte, error) {
	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return nil, err
	}
	if len(warnings) > 0 {
		return nil, fmt.Errorf("adapting gave a warning: %s", warnings[0])
	}
	return config, nil
}

// adaptAndValidate adapts a Caddyfile and runs the life cycle of its modules
// up to the point where Caddy would start to serve.
func adaptAndValidate(input string) ([]byte, error) {
	adapted, err := adapt(input)
	if err != nil {
		return nil, err
	}
	config := new(caddy.Config)
	if err := caddy.StrictUnmarshalJSON(adapted, config); err != nil {
		return nil, err
	}
	if err := caddy.Validate(config); err != nil {
		return nil, err
	}
	return adapted, nil
}

func goldenFiles(tb testing.TB, dir string) []string {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+goldenSuffix))
	if err != nil {
		tb.Fatal(err)
	}
	if len(files) == 0 {
		tb.Fatalf("found no golden files in %s", dir)
	}
	return files
}

func goldenName(file string) string {
	return strings.TrimSuffix(filepath.Base(file), goldenSuffix)
}

func readGolden(tb testing.TB, file string) (input, want string) {
	tb.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	text := strings.ReplaceAll(string(content), "\r\n", "\n")
	input, want, found := strings.Cut(text, goldenSeparator)
	if !found {
		tb.Fatal(errors.New(file + " has no separator line of ten dashes"))
	}
	return input, want
}

// writeGolden reports whether it wrote the file anew, as -update asks for.
func writeGolden(t *testing.T, file, input, got string) bool {
	t.Helper()
	if !*update {
		return false
	}
	if err := os.WriteFile(file, []byte(input+goldenSeparator+got), 0o644); err != nil {
		t.Fatal(err)
	}
	return true
}

func tokenText(tokens []caddyfile.Token) string {
	words := make([]string, len(tokens))
	for i, token := range tokens {
		words[i] = token.Text
	}
	return strings.Join(words, " ")
}
