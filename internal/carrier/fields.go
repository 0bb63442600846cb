package carrier

import (
	"net/http"
	"strings"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
)

// keepValues replaces the values of a field by the results of edit, drops the values
// that edit does not keep, and drops the field when no value is left.
func keepValues(header http.Header, field string, edit func(string) (string, bool)) {
	values := header[field]
	if len(values) == 0 {
		return
	}
	kept := make([]string, 0, len(values))
	for _, value := range values {
		if edited, keep := edit(value); keep {
			kept = append(kept, edited)
		}
	}
	if len(kept) == 0 {
		delete(header, field)
		return
	}
	header[field] = kept
}

// EachSpelling calls do for every spelling of the name of a field that servers may
// take for the same field. do may delete the field that it is called for.
func EachSpelling(header http.Header, field string, do func(field string)) {
	for name := range header {
		if handshake.SameField(name, field) {
			do(name)
		}
	}
}

// without leaves out the items of a list for which ours is true.
func without(list, separator string, ours func(item string) bool) string {
	var kept []string
	n := 0
	for item := range strings.SplitSeq(list, separator) {
		n++
		if !ours(item) {
			kept = append(kept, item)
		}
	}
	if len(kept) == n {
		return list
	}
	return strings.Join(kept, separator)
}

func trimBlanks(s string) string { return strings.Trim(s, " \t") }
