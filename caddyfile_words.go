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

// lineArgs returns the arguments of the word that d stands on. Their number must be
// between least and most, or any from least where most is negative, and the word must
// have no block. The error shows the syntax and not the arguments, which may be secret.
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

// parseWords parses a block, each word with its own function, which is given a dispenser
// over the word's own tokens that stands on the word itself. A word may stand once,
// counting what was seen before, unless it is one of those that may be repeated.
func parseWords[T any](d *caddyfile.Dispenser, into *T, block string,
	words map[string]func(*T, *caddyfile.Dispenser) error, seen map[string]bool, repeated ...string,
) error {
	for d.NextBlock(0) {
		word := caddyfile.NewDispenser(wordTokens(d))
		word.Next()
		parse, known := words[word.Val()]
		if !known {
			return unexpectedWord(word, block, sortedKeys(words)...)
		}
		if !slices.Contains(repeated, word.Val()) {
			if err := once(word, seen, word.Val()); err != nil {
				return err
			}
		}
		if err := parse(into, word); err != nil {
			return err
		}
	}
	return nil
}

// unexpectedWord is the error about an unknown word in a block, and lists the allowed
// words.
func unexpectedWord(d *caddyfile.Dispenser, block string, allowed ...string) error {
	return d.WrapErr(fmt.Errorf("unknown word %q in %s%s: allowed are %s",
		d.Val(), block, guess(d.Val(), allowed), strings.Join(allowed, ", ")))
}

func sortedKeys[V any](words map[string]V) []string { return slices.Sorted(maps.Keys(words)) }

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

// parseDuration reads a duration; what names its setting in the error, which says how
// to write a duration.
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

// separated is a hint for an argument that seems to be several arguments.
func separated(arg string) string {
	if strings.ContainsAny(arg, "/,;:") {
		return "; what is separate has a blank between"
	}
	return ""
}

// parseWeights reads the weights of upstreams.
func parseWeights(d *caddyfile.Dispenser, args []string) ([]int, error) {
	weights := make([]int, 0, len(args))
	for _, arg := range args {
		weight, err := strconv.Atoi(arg)
		if err != nil || weight < 0 {
			return nil, d.Errf("weight %q must be a whole number, 0 or more%s", arg, separated(arg))
		}
		weights = append(weights, weight)
	}
	return weights, nil
}

// checkAllowHTTP refuses allow_http where it says nothing.
func checkAllowHTTP(d *caddyfile.Dispenser, place string, allowed bool) error {
	if allowed && !strings.HasPrefix(place, "http://") {
		return d.Err("allow_http is for URLs that begin with http://: remove it")
	}
	return nil
}

// moduleWords are the subdirectives of reverse_proxy whose first argument names a
// module, with the namespace it is looked for in.
var moduleWords = map[string]string{
	"lb_policy": "http.reverse_proxy.selection_policies",
	"dynamic":   "http.reverse_proxy.upstreams",
	"transport": "http.reverse_proxy.transport",
}

// policySyntax shows how each of Caddy's policies is written. The policies themselves
// say only that the number of arguments is wrong.
var policySyntax = map[string]struct {
	args  string
	least int
	most  int // negative: any number
	block bool
}{
	"random":               {},
	"least_conn":           {},
	"round_robin":          {},
	"first":                {},
	"ip_hash":              {},
	"client_ip_hash":       {},
	"uri_hash":             {},
	"random_choose":        {args: " <n>", least: 1, most: 1},
	"weighted_round_robin": {args: " <weight...>", least: 1, most: -1},
	"header":               {args: " <field>", least: 1, most: 1, block: true},
	"query":                {args: " <key>", least: 1, most: 1, block: true},
	"cookie":               {args: " [<name> [<secret>]]", most: 2, block: true},
}

// checkModuleWords explains mistakes in the words of reverse_proxy that name a
// module, which its own parser only states.
func checkModuleWords(tokens []caddyfile.Token) error {
	d := caddyfile.NewDispenser(tokens)
	d.Next()
	d.RemainingArgs() // the upstreams
	for d.NextBlock(0) {
		word := caddyfile.NewDispenser(wordTokens(d))
		word.Next()
		name := word.Val()
		namespace, names := moduleWords[name]
		if !names {
			continue
		}
		if err := checkModuleName(word, name, namespace); err != nil {
			return err
		}
		if name == "lb_policy" {
			if err := checkPolicy(word); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkModuleName moves on to the name of a module, which must be one that is
// registered in the namespace.
func checkModuleName(d *caddyfile.Dispenser, word, namespace string) error {
	if !d.NextArg() {
		return d.Errf("%s needs a name behind it: there are %s", word, strings.Join(registered(namespace), ", "))
	}
	return checkRegistered(d, word, namespace)
}

// checkRegistered holds the name that d stands on to those that are registered
// in the namespace.
func checkRegistered(d *caddyfile.Dispenser, word, namespace string) error {
	known := registered(namespace)
	if slices.Contains(known, d.Val()) || d.Val() == "fastcgi" { // fastcgi is refused later, with its own reason
		return nil
	}
	return d.Errf("unknown %s %q%s: there are %s", word, d.Val(), guess(d.Val(), known), strings.Join(known, ", "))
}

func registered(namespace string) []string {
	modules := caddy.GetModules(namespace)
	names := make([]string, 0, len(modules))
	for _, info := range modules {
		if name := info.ID.Name(); name != "fastcgi" { // FastCGI can carry no WebSocket
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// checkPolicy checks the arguments and the fallback of the policy of Caddy's that
// d stands on. Other policies have helpful errors of their own.
func checkPolicy(d *caddyfile.Dispenser) error {
	name := d.Val()
	syntax, known := policySyntax[name]
	if !known {
		return nil
	}
	args := d.RemainingArgs()
	switch tooMany := syntax.most >= 0 && len(args) > syntax.most; {
	case tooMany && syntax.most == 0:
		return d.Errf("lb_policy %s takes no arguments%s", name, whoseWeights(name, args))
	case tooMany:
		return d.Errf("too many arguments: lb_policy %s%s%s", name, syntax.args, whoseWeights(name, args))
	case len(args) < syntax.least:
		return d.Errf("an argument is missing: lb_policy %s%s", name, syntax.args)
	}
	switch name {
	case "weighted_round_robin":
		if _, err := parseWeights(d, args); err != nil {
			return err
		}
	case "random_choose":
		if n, err := strconv.Atoi(args[0]); err != nil || n < 2 {
			return d.Errf("lb_policy random_choose: %q must be a whole number of at least 2: of how many upstreams, drawn at random, the least busy is taken", args[0])
		}
	}
	for d.NextBlock(0) {
		if !syntax.block {
			return d.Errf("a block is not expected here: lb_policy %s%s", name, syntax.args)
		}
		word := caddyfile.NewDispenser(wordTokens(d))
		word.Next()
		if word.Val() != "fallback" {
			continue
		}
		if err := checkModuleName(word, "fallback", moduleWords["lb_policy"]); err != nil {
			return err
		}
		if err := checkPolicy(word); err != nil {
			return err
		}
	}
	return nil
}

// whoseWeights is a hint at the policies that take weights, where the arguments of
// another policy look like weights.
func whoseWeights(policy string, args []string) string {
	for _, arg := range args {
		if strings.Trim(arg, "0123456789.,:/") != "" {
			return ""
		}
	}
	switch policy {
	case "random":
		return ": the choice among several that are drawn at random is random_choose <n>"
	case "least_conn":
		return ": weights are for weighted_least_conn, or weighted_round_robin"
	}
	return ": weights are for weighted_round_robin, or weighted_least_conn"
}

// guess is a hint at the known word that is most like an unknown word; "" where none
// is near.
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
