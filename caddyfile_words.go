package wsgateway

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// wordTokens returns the word that d stands on, its arguments and its block.
func wordTokens(d *caddyfile.Dispenser) []caddyfile.Token {
	tokens := d.NextSegment()
	if d.Val() == "}" && tokens[len(tokens)-1].Text != "}" {
		// NextSegment goes past an empty block without returning it
		closing := d.Token()
		d.Prev()
		tokens = append(tokens, d.Token(), closing)
		d.Next()
	}
	return tokens
}

// durationArg parses a word with one duration of at least least.
func durationArg(d *caddyfile.Dispenser, word string, least time.Duration) (caddy.Duration, error) {
	args, err := lineArgs(d, word+" <duration>", 1, 1)
	if err != nil {
		return 0, err
	}
	duration, err := parseDuration(d, word, args[0])
	if err != nil {
		return 0, err
	}
	if duration < least {
		bound := "negative"
		if least > 0 {
			bound = "zero or negative"
		}
		return 0, d.Errf("%s must not be %s, got %s", word, bound, args[0])
	}
	return caddy.Duration(duration), nil
}

// lineArgs returns the arguments of the word that d stands on, which must be
// between least and most (where that is not negative), with no block behind
// them. The error shows the syntax and not the arguments, which may be secret.
func lineArgs(d *caddyfile.Dispenser, syntax string, least, most int) ([]string, error) {
	args := d.RemainingArgs()
	switch {
	case len(args) < least:
		return nil, d.Errf("an argument is missing: %s", syntax)
	case most == 0 && len(args) > 0:
		return nil, d.Errf("too many arguments: %s takes none", syntax)
	case most >= 0 && len(args) > most:
		return nil, d.Errf("too many arguments: %s", syntax)
	}
	if d.Next() {
		return nil, d.Errf("a block is not expected here: %s", syntax)
	}
	return args, nil
}

// once refuses a word that was seen before.
func once(d *caddyfile.Dispenser, seen map[string]bool, word string) error {
	if seen[word] {
		return d.Errf("%s is already set: it may stand once", word)
	}
	seen[word] = true
	return nil
}

// unexpectedWord lists the words of a block where another one was found.
func unexpectedWord(d *caddyfile.Dispenser, block string, allowed ...string) error {
	return d.WrapErr(fmt.Errorf("unknown word %q in %s%s: allowed are %s",
		d.Val(), block, guess(d.Val(), allowed), strings.Join(allowed, ", ")))
}

func sortedKeys[V any](words map[string]V) []string { return slices.Sorted(maps.Keys(words)) }

// checkRegistered holds the name that d stands on to those that are registered
// in the namespace.
func checkRegistered(d *caddyfile.Dispenser, word, namespace string) error {
	known := registered(namespace)
	if slices.Contains(known, d.Val()) || d.Val() == "fastcgi" { // which is refused for what it is
		return nil
	}
	return d.Errf("unknown %s %q%s: there are %s", word, d.Val(), guess(d.Val(), known), strings.Join(known, ", "))
}

func registered(namespace string) []string {
	modules := caddy.GetModules(namespace)
	names := make([]string, 0, len(modules))
	for _, info := range modules {
		if name := info.ID.Name(); name != "fastcgi" { // it can carry no WebSocket
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// parseDuration reads the duration of what. The error says how to write one.
func parseDuration(d *caddyfile.Dispenser, what, arg string) (time.Duration, error) {
	duration, err := caddy.ParseDuration(arg)
	if err == nil {
		return duration, nil
	}
	if _, err := strconv.ParseFloat(arg, 64); err == nil {
		return 0, d.Errf("%s: %q has no unit: write %ss, %sm or %sh", what, arg, arg, arg, arg)
	}
	return 0, d.Errf("%s: %q is not a duration: write one such as 30s, 5m or 1h30m%s", what, arg, separated(arg))
}

// guess is a hint at the word that may have been meant by one that is unknown;
// "" where none is near.
func guess(word string, known []string) string {
	fold := strings.NewReplacer("_", "", "-", "").Replace
	best, least := "", 3 // more mistakes than two, or one in a short word, are another word
	for _, candidate := range known {
		a, b := fold(strings.ToLower(word)), fold(candidate)
		n := distance(a, b)
		short := max(len(a), len(b)) < 8
		if common := commonPrefix(a, b); common >= 4 && common+2 >= min(len(a), len(b)) {
			n, short = min(n, 2), false
		}
		if n < least && (n <= 1 || !short) {
			best, least = candidate, n
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// commonPrefix is the number of letters that both begin with.
func commonPrefix(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// distance is the number of letters that have to be added, removed or replaced
// to make one word of the other.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			n := diagonal
			if a[i] != b[j] {
				n = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], n
		}
	}
	return row[len(b)]
}

// checkAllowHTTP refuses allow_http where it says nothing.
func checkAllowHTTP(d *caddyfile.Dispenser, place string, allowed bool) error {
	if allowed && !strings.HasPrefix(place, "http://") {
		return d.Err("allow_http is for URLs that begin with http://: remove it")
	}
	return nil
}

// separated is a hint for an argument that seems to be several.
func separated(arg string) string {
	if strings.ContainsAny(arg, "/,;:") {
		return "; what is separate has a blank between"
	}
	return ""
}
