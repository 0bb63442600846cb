package replace

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/wsgateway/caddy-ws-gateway/messages/internal/pattern"
)

// Rule is a pattern and what stands in place of what it matches.
type Rule struct {
	// A regular expression (RE2, https://golang.org/s/re2syntax). One that can match the
	// empty string is an error, and so is one of more than 1,000 instructions: `{1,500}`
	// is 500 copies of what it repeats.
	Pattern string `json:"pattern"`

	// What replaces each match. `$1`, `${1}` and `${name}` are what the pattern's groups
	// have matched, `$$` is a dollar sign. A group that the pattern does not have is an
	// error. Default: nothing, so that matches are deleted.
	Replacement string `json:"replacement,omitempty"`

	*compiled `json:"-"`
}

// compiled is a rule as it is applied.
type compiled struct {
	pattern     *regexp.Regexp
	replacement []part

	// The pattern where the text begins, and behind any character: for finding the groups
	// of a match of which the place is known. Nil if no group is referred to.
	first, later *regexp.Regexp
}

// part is a text of a replacement and the group that follows it, or -1.
type part struct {
	literal string
	group   int
}

// maxGrowth is by how many bytes a text may grow.
const maxGrowth = 1 << 20

// What ends the work on a text.
var (
	errGrowth   = errors.New("replacements make a message more than 1 MiB larger")
	errDeadline = errors.New("replacing takes longer than the budget of the message")
)

// Compile prepares the rule, and returns what is wrong with it.
func (r *Rule) Compile() error {
	if r.Pattern == "" {
		return errors.New("pattern: it is missing: write a regular expression that matches at least one character")
	}
	tree, err := syntax.Parse(r.Pattern, syntax.Perl)
	if err != nil {
		return fmt.Errorf("pattern: %w", err)
	}
	if err = pattern.Check(r.Pattern); err != nil {
		return fmt.Errorf("pattern: %w", err)
	}
	if matchesEmpty(tree) {
		return fmt.Errorf("pattern: %q can match the empty string: let it match at least one character", r.Pattern)
	}
	if !utf8.ValidString(r.Replacement) {
		return errors.New("replacement: it must be valid UTF-8")
	}
	c := new(compiled)
	if c.pattern, err = regexp.Compile(r.Pattern); err != nil {
		return fmt.Errorf("pattern: %w", err)
	}
	if c.replacement, err = parts(r.Replacement, c.pattern.SubexpNames()); err != nil {
		return fmt.Errorf("replacement: %w", err)
	}
	if len(c.replacement) > 1 {
		if c.first, err = regexp.Compile(`\A(?:` + r.Pattern + `)`); err != nil {
			return fmt.Errorf("pattern: %w", err)
		}
		if c.later, err = regexp.Compile(`\A(?s:.)(?:` + r.Pattern + `)`); err != nil {
			return fmt.Errorf("pattern: %w", err)
		}
	}
	r.compiled = c
	return nil
}

// matchesEmpty reports whether an expression has a match of no characters.
func matchesEmpty(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpNoMatch, syntax.OpLiteral, syntax.OpCharClass, syntax.OpAnyCharNotNL, syntax.OpAnyChar:
		return false
	case syntax.OpCapture, syntax.OpPlus:
		return matchesEmpty(re.Sub[0])
	case syntax.OpRepeat:
		return re.Min == 0 || matchesEmpty(re.Sub[0])
	case syntax.OpConcat:
		return !slices.ContainsFunc(re.Sub, func(part *syntax.Regexp) bool { return !matchesEmpty(part) })
	case syntax.OpAlternate:
		return slices.ContainsFunc(re.Sub, matchesEmpty)
	default:
		return true // assertions, and what may be left out
	}
}

// reference is what regexp takes for a reference to a group, or a dollar sign.
var reference = regexp.MustCompile(`\$(?:\$|([\pL\p{Nd}_]+)|\{([\pL\p{Nd}_]+)\})`)

// parts takes a replacement apart; the last part has no group.
func parts(replacement string, names []string) (all []part, err error) {
	literal, end := "", 0
	for _, found := range reference.FindAllStringSubmatchIndex(replacement, -1) {
		literal += replacement[end:found[0]]
		end = found[1]
		var name string
		switch {
		case found[2] >= 0:
			name = replacement[found[2]:found[3]]
		case found[4] >= 0:
			name = replacement[found[4]:found[5]]
		default:
			literal += "$"
			continue
		}
		group := slices.Index(names, name)
		if number, err := strconv.Atoi(name); err == nil && number < len(names) && strconv.Itoa(number) == name {
			group = number
		}
		if group < 0 {
			return nil, fmt.Errorf("the pattern has no group %s, which %s refers to: what follows a group needs braces around it, as in ${1}st; a dollar sign is $$",
				name, replacement[found[0]:found[1]])
		}
		all = append(all, part{literal, group})
		literal = ""
	}
	return append(all, part{literal + replacement[end:], -1}), nil
}

// stopped is the panic that ends a replacement early.
type stopped struct{ err error }

// Apply returns the text with all matches replaced, and where in it the place at of the
// text has come to: behind the replacement, if it is in a match. Where nothing matches,
// the text is returned as it is. It fails where the text grows too much, or if the
// deadline is over, zero for none.
func (r *Rule) Apply(text []byte, at int, deadline time.Time) (result []byte, moved int, err error) {
	if !r.pattern.Match(text) {
		return text, at, nil
	}
	defer func() {
		switch p := recover().(type) {
		case nil:
		case stopped:
			result, moved, err = nil, 0, p.err
		default:
			panic(p)
		}
	}()
	growth := 0
	moved = at
	var scratch []byte
	result = r.pattern.ReplaceAllFunc(text, func(match []byte) []byte {
		// a match may be found at the cost of looking at all that is behind it
		if !deadline.IsZero() && time.Now().After(deadline) {
			panic(stopped{errDeadline})
		}
		start := cap(text) - cap(match)
		groups := r.groups(text, start)
		size := r.size(groups)
		if growth += size - len(match); growth > maxGrowth {
			panic(stopped{errGrowth})
		}
		switch end := start + len(match); {
		case end <= at:
			moved = at + growth
		case start < at:
			moved = end + growth
		}
		scratch = r.appendTo(scratch[:0], text, groups)
		return scratch
	})
	return result, moved, nil
}

// groups are where in the text the groups of the match that begins at start are, if the
// replacement refers to any.
func (c *compiled) groups(text []byte, start int) []int {
	switch {
	case c.first == nil:
		return nil
	case start == 0:
		return c.first.FindSubmatchIndex(text)
	}
	_, width := utf8.DecodeLastRune(text[:start]) // what an assertion may look at
	groups := c.later.FindSubmatchIndex(text[start-width:])
	groups[0] += width
	for i := range groups {
		if groups[i] >= 0 {
			groups[i] += start - width
		}
	}
	return groups
}

// size is how long the replacement is with these groups.
func (c *compiled) size(groups []int) (n int) {
	for _, p := range c.replacement {
		n += len(p.literal)
		if p.group >= 0 {
			n += groups[2*p.group+1] - groups[2*p.group] // 0 where the group has not matched
		}
	}
	return n
}

// appendTo appends the replacement to b.
func (c *compiled) appendTo(b, text []byte, groups []int) []byte {
	for _, p := range c.replacement {
		b = append(b, p.literal...)
		if p.group >= 0 && groups[2*p.group] >= 0 {
			b = append(b, text[groups[2*p.group]:groups[2*p.group+1]]...)
		}
	}
	return b
}
