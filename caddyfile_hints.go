package wsgateway

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// moduleWords are the subdirectives of reverse_proxy whose first argument names a
// module, with the namespace it is looked for in.
var moduleWords = map[string]string{
	"lb_policy": "http.reverse_proxy.selection_policies",
	"dynamic":   "http.reverse_proxy.upstreams",
	"transport": "http.reverse_proxy.transport",
}

// policySyntax shows how each of Caddy's policies is written, for they say only
// that the number of arguments is wrong.
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

// checkPolicy checks the arguments and the fallback of the policy of Caddy's that
// d stands on. Other policies speak for themselves.
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

// whoseWeights names the policies that take weights, where the arguments of
// another one look like some.
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
