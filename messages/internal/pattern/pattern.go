// Package pattern bounds the regular expressions that messages are held against.
package pattern

import (
	"fmt"
	"regexp/syntax"
)

// Most is how many instructions a regular expression may have. A match takes, at worst,
// as many steps as that times the bytes of the message, and nothing can cut it short:
// about ten seconds for 1 MiB.
const Most = 1000

// Check returns an error where the regular expression (RE2, as regexp takes it) is none,
// or has more than [Most] instructions.
func Check(expression string) error {
	tree, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return err
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return err
	}
	if n := len(program.Inst); n > Most {
		return fmt.Errorf("the regular expression has %d instructions, and may have %d, since each may be taken for each byte of a message: "+
			"repetitions such as {1,500} are as many copies of what they repeat; use + or *, or smaller numbers", n, Most)
	}
	return nil
}
