package expression

import (
	"fmt"
	"regexp"
	"strings"
)

// placeholder is a placeholder in the source of an expression, which is a variable for
// CEL.
type placeholder struct {
	name     string // without braces
	variable string
}

// placeholders have a dot, as all of Caddy's have; maps in CEL, which have braces too,
// have a colon after what they begin with.
var placeholders = regexp.MustCompile(`\{[a-zA-Z0-9_-]+(?:\.[a-zA-Z0-9_:/-]+)+\}`)

// variablePrefix begins the names of variables that stand for placeholders.
const variablePrefix = "ph_"

// substitute puts variables in the place of placeholders, of the same length, so that
// columns stay what they were.
func substitute(source string) (string, []placeholder) {
	var found []placeholder
	source = placeholders.ReplaceAllStringFunc(source, func(braced string) string {
		variable := fmt.Sprintf("%s%d", variablePrefix, len(found))
		variable += strings.Repeat("_", max(0, len(braced)-len(variable)))
		found = append(found, placeholder{strings.Trim(braced, "{}"), variable})
		return variable
	})
	return source, found
}
