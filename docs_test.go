package wsgateway

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// maxReadme is what a stranger may be asked to read first, in bytes.
const maxReadme = 10 << 10

func TestReadmeIsShort(t *testing.T) {
	t.Parallel()
	if n := len(readDocument(t, "README.md")); n > maxReadme {
		t.Errorf("README.md has %d bytes, and may have %d: move something to docs", n, maxReadme)
	}
}

// TestGrammarInTheDocumentsIsTheParsers compares every word and its arguments.
func TestGrammarInTheDocumentsIsTheParsers(t *testing.T) {
	t.Parallel()
	grammar := documentedGrammar(t)
	inTables := map[string][]string{
		"global/ws_gateway":   sortedKeys(appWords),
		"ws_gateway":          sortedKeys(gatewayWords),
		"ws_gateway/auth":     sortedKeys(authWords),
		"ws_gateway/auth/jwt": sortedKeys(jwtWords),
		"ws_gateway/limit":    sortedKeys(limitWords),
		"ws_gateway_status":   sortedKeys(statusWords),

		"ws_gateway/log_sampling":         sortedKeys(logSamplingWords),
		"ws_gateway/log_sampling/opened":  sortedKeys(samplingWords),
		"ws_gateway/log_sampling/closed":  sortedKeys(samplingWords),
		"ws_gateway/log_sampling/refused": sortedKeys(samplingWords),
	}
	for block, words := range inTables {
		if documented := grammar.words(block); !slices.Equal(documented, words) {
			t.Errorf("%s: documented are %q, and the parser knows %q", block, documented, words)
		}
	}
	byParser := map[string]string{ // which lists the words of a block where it meets another
		"ws_gateway/auth/jwt/jwks":   "auth {\njwt {\nkey s\njwks /file {\nnone\n}\n}\n}",
		"ws_gateway/auth/introspect": "auth {\nintrospect https://a.example {\nnone\n}\n}",
	}
	for block, wrong := range byParser {
		_, err := adapt(":80\nws_gateway a:1 {\n" + wrong + "\n}")
		checkListed(t, block, grammar.words(block), err)
	}
	_, err := adapt(":80\nws_token {\nnone\n}")
	checkListed(t, "ws_token", grammar.words("ws_token"), err)
	_, err = adapt("{\nws_gateway {\nnone\n}\n}")
	checkListed(t, "global/ws_gateway", grammar.words("global/ws_gateway"), err)
	_, err = adapt(":80\nws_gateway a:1 {\nauth {\ntoken none\n}\n}")
	checkListed(t, "token", grammar.secondWords("ws_gateway/auth", "token"), err)

	checkArguments(t, grammar, "global/ws_gateway", appWords, func() *App { return new(App) })
	checkArguments(t, grammar, "ws_gateway", gatewayWords, func() *Handler { return new(Handler) })
	checkArguments(t, grammar, "ws_gateway/auth", authWords, func() *Auth { return new(Auth) })
	checkArguments(t, grammar, "ws_gateway/auth/jwt", jwtWords, func() *JWT { return new(JWT) })
	checkArguments(t, grammar, "ws_gateway/limit", limitWords, func() *Limit { return new(Limit) })
	checkArguments(t, grammar, "ws_gateway_status", statusWords, func() *Status { return new(Status) })
	checkArguments(t, grammar, "ws_gateway/log_sampling/closed", samplingWords, func() *Sampling { return new(Sampling) })
	if _, err := adapt(":80\nws_echo a b"); err == nil || !strings.Contains(err.Error(), ": "+grammar.line("", "ws_echo")+",") {
		t.Errorf("documented is %q, and the parser says %v", grammar.line("", "ws_echo"), err)
	}
}

// checkListed compares the documented words of a block with those in an error.
func checkListed(t *testing.T, block string, documented []string, err error) {
	t.Helper()
	list := ""
	if err != nil {
		_, list, _ = strings.Cut(err.Error(), ": allowed are ")
		list, _, _ = strings.Cut(list, ", at ")
	}
	if want := strings.Split(list, ", "); !slices.Equal(documented, want) {
		t.Errorf("%s: documented are %q, and the parser says %v", block, documented, err)
	}
}

// syntaxInError is what a parser says of a word with too few arguments, or with too
// many.
var syntaxInError = regexp.MustCompile(`(?:an argument is missing|too many arguments): (.*?)(?:, beside .*)?(?:, at .*)?$`)

// checkArguments compares the documented arguments of the words of a block with
// those that the parser names in its errors.
func checkArguments[T any](t *testing.T, grammar grammar, block string, words map[string]func(T, *caddyfile.Dispenser) error, into func() T) {
	t.Helper()
	checked := 0
	for word, parse := range words {
		for _, line := range []string{word, word + strings.Repeat(" 1", 30)} {
			d := caddyfile.NewTestDispenser(line)
			d.Next()
			err := parse(into(), d)
			if err == nil {
				continue
			}
			said := syntaxInError.FindStringSubmatch(err.Error())
			if said == nil || word == "token" { // which has a syntax for each place
				continue
			}
			checked++
			if bare, none := strings.CutSuffix(said[1], " takes none"); none {
				said[1] = bare
			}
			if documented := grammar.line(block, word); documented != said[1] {
				t.Errorf("%s: documented is %q, and the parser says %q", block, documented, said[1])
			}
		}
	}
	if checked < len(words)/2 {
		t.Errorf("%s: the parser named the arguments of %d of %d words", block, checked, len(words))
	}
}

func TestPlacesOfATokenAreDocumentedWithTheirArguments(t *testing.T) {
	t.Parallel()
	grammar := documentedGrammar(t)
	for _, place := range grammar.secondWords("ws_gateway/auth", "token") {
		d := caddyfile.NewTestDispenser("token " + place + strings.Repeat(" 1", 30))
		d.Next()
		said := syntaxInError.FindStringSubmatch(new(Auth).unmarshalToken(d).Error())
		if said == nil || !slices.Contains(grammar["ws_gateway/auth"], said[1]) {
			t.Errorf("documented are %q, and the parser says %q", grammar["ws_gateway/auth"], said)
		}
	}
}

// grammar has the lines of the blocks, by the words that lead to each.
type grammar map[string][]string

// documentedGrammar reads it where it stands.
func documentedGrammar(t *testing.T) grammar {
	t.Helper()
	_, text, found := strings.Cut(readDocument(t, "docs/configuration.md"), "\n## The grammar\n")
	_, text, fenced := strings.Cut(text, "\n```\n")
	text, _, closed := strings.Cut(text, "\n```\n")
	if !found || !fenced || !closed {
		t.Fatal("docs/configuration.md has no grammar")
	}
	lines, inside := make(grammar), ""
	for line := range strings.Lines(text) {
		line, opens := strings.CutSuffix(strings.TrimSpace(line), " {")
		if line == "{" {
			line, opens = "global options", true
		}
		switch {
		case line == "}":
			inside = strings.TrimPrefix(path.Dir("/"+inside), "/")
		case line != "" && !strings.HasPrefix(line, "#"):
			lines[inside] = append(lines[inside], line)
		}
		if opens {
			inside = path.Join(inside, strings.Fields(line)[0])
		}
	}
	return lines
}

// words are the first words of the lines of a block.
func (g grammar) words(block string) []string {
	words := make(map[string]bool)
	for _, line := range g[block] {
		words[strings.Fields(line)[0]] = true
	}
	return sortedKeys(words)
}

// secondWords are the second ones of those that begin with the first.
func (g grammar) secondWords(block, first string) []string {
	words := make(map[string]bool)
	for _, line := range g[block] {
		if fields := strings.Fields(line); fields[0] == first {
			words[fields[1]] = true
		}
	}
	return sortedKeys(words)
}

// line is the one of a word.
func (g grammar) line(block, word string) string {
	i := slices.IndexFunc(g[block], func(line string) bool { return strings.Fields(line)[0] == word })
	if i < 0 {
		return ""
	}
	return g[block][i]
}

func TestGrammarStandsInOnePlace(t *testing.T) {
	t.Parallel()
	for _, name := range documents(t) {
		if has := strings.Contains(readDocument(t, name), "[<matcher>]"); has != (name == "docs/configuration.md") {
			t.Errorf("%s: has a grammar is %t", name, has)
		}
	}
}

// untested is in front of a Caddyfile that needs what is not in this module: a
// comment that says which.
var untested = regexp.MustCompile(`<!-- not tested: needs [^\n]+ -->\n\z`)

func TestCaddyfilesInDocumentsAreValid(t *testing.T) {
	prepareValidation(t)
	total := 0
	for _, name := range documents(t) {
		text := "\n" + readDocument(t, name)
		for i, at := range regexp.MustCompile("(?s)\n```caddyfile\n(.*?)\n```\n").FindAllStringSubmatchIndex(text, -1) {
			if untested.MatchString(text[:at[0]+1]) {
				continue
			}
			total++
			input := text[at[2]:at[3]] + "\n"
			_, whole := adaptAndValidate(input)
			_, part := adaptAndValidate(":8080 {\n\t" + strings.ReplaceAll(strings.TrimSpace(input), "\n", "\n\t") + "\n}\n")
			if whole != nil && part != nil {
				t.Errorf("%s: the Caddyfile number %d is neither whole (%v) nor part of a site (%v)", name, i+1, whole, part)
			}
		}
	}
	if total < 7 {
		t.Errorf("found %d Caddyfiles in the documents", total)
	}
}

// TestFirstCaddyfileAndItsJSONAreTheSame compares what README shows in two forms.
func TestFirstCaddyfileAndItsJSONAreTheSame(t *testing.T) {
	t.Parallel()
	readme := readDocument(t, "README.md")
	_, text, _ := strings.Cut(readme, "\n```caddyfile\n")
	text, _, _ = strings.Cut(text, "```\n")
	adapted, err := adapt(text)
	if err != nil {
		t.Fatal(err)
	}
	_, inJSON, _ := strings.Cut(readme, " -d '{\n")
	inJSON, _, _ = strings.Cut(inJSON, "\n}'\n")
	var fromCaddyfile, fromJSON any
	if err := json.Unmarshal(adapted, &fromCaddyfile); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte("{"+inJSON+"}"), &fromJSON); err != nil {
		t.Fatalf("README's JSON: %v", err)
	}
	want, got := findGateways(fromCaddyfile), findGateways(fromJSON)
	if len(want) != 1 || !reflect.DeepEqual(got, want) {
		t.Errorf("README's Caddyfile is\n%v\nand its JSON\n%v", want, got)
	}
}

// link is one in Markdown, or a picture.
var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestLinksBetweenDocumentsResolve(t *testing.T) {
	t.Parallel()
	total := 0
	for _, name := range documents(t) {
		for _, found := range link.FindAllStringSubmatch(withoutFences(readDocument(t, name)), -1) {
			target := found[1]
			if strings.Contains(target, "://") {
				continue
			}
			total++
			file, anchor, _ := strings.Cut(target, "#")
			at := name
			if file != "" {
				at = path.Join(path.Dir(name), file)
			}
			if _, err := os.Stat(at); err != nil {
				t.Errorf("%s: %s leads nowhere: %v", name, target, err)
			} else if anchor != "" && !slices.Contains(anchors(readDocument(t, at)), anchor) {
				t.Errorf("%s: %s leads to no heading of %s", name, target, at)
			}
		}
	}
	if total < 40 {
		t.Errorf("found %d links", total)
	}
}

// TestEveryDocumentIsFound from README, by a chain of links.
func TestEveryDocumentIsFound(t *testing.T) {
	t.Parallel()
	found := map[string]bool{"README.md": true}
	for queue := []string{"README.md"}; len(queue) > 0; queue = queue[1:] {
		name := queue[0]
		for _, to := range link.FindAllStringSubmatch(withoutFences(readDocument(t, name)), -1) {
			file, _, _ := strings.Cut(to[1], "#")
			if at := path.Join(path.Dir(name), file); strings.HasSuffix(file, ".md") && !strings.Contains(file, "://") && !found[at] {
				found[at] = true
				queue = append(queue, at)
			}
		}
	}
	for _, name := range documents(t) {
		if !found[name] {
			t.Errorf("no link leads to %s", name)
		}
	}
}

// TestTestsThatDocumentsNameExist holds, above all, the list of what tells that
// something we lean on has changed.
func TestTestsThatDocumentsNameExist(t *testing.T) {
	t.Parallel()
	exist := make(map[string]bool)
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() == "node_modules" {
			return fs.SkipDir
		}
		if strings.HasSuffix(name, "_test.go") {
			for _, found := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllStringSubmatch(readDocument(t, name), -1) {
				exist[found[1]] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, name := range documents(t) {
		for _, test := range regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+)`").FindAllStringSubmatch(readDocument(t, name), -1) {
			named++
			if !exist[test[1]] {
				t.Errorf("%s names %s, which does not exist", name, test[1])
			}
		}
	}
	if named < 20 {
		t.Errorf("the documents name %d tests", named)
	}
}

// documents are all in Markdown that this module has, by their names.
func documents(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "examples/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range found {
			names = append(names, filepath.ToSlash(name))
		}
	}
	if !slices.Contains(names, "docs/configuration.md") {
		t.Fatal("docs are missing")
	}
	return names
}

func readDocument(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

// withoutFences leaves out what is code.
func withoutFences(text string) string {
	return regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(text, "")
}

// anchors are what the headings of a document are known by, as on GitHub.
func anchors(text string) []string {
	seen := make(map[string]bool)
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(withoutFences(text), -1) {
		plain := link.ReplaceAllString(strings.ToLower(heading[1]), "]")
		plain = regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(plain, "")
		seen[strings.ReplaceAll(plain, " ", "-")] = true
	}
	return slices.Collect(maps.Keys(seen))
}
