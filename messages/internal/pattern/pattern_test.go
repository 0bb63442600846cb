package pattern

import (
	"strings"
	"testing"
)

func TestCheckRefusesHugeExpressions(t *testing.T) {
	for expression, want := range map[string]string{
		``:                              "",
		`"token":"[^"]*"`:               "",
		`^[0-9a-f]{8}(-[0-9a-f]{4}){3}`: "",
		`\p{L}{1,255}`:                  "",
		strings.Repeat("a", 900):        "",
		strings.Repeat("a", 1000):       "has 1002 instructions, and may have 1000",
		`(a{1,100}){1,10}b`:             "has 2022 instructions, and may have 1000",
		`(?:a?){900}`:                   "instructions",
		`(`:                             "missing closing )",
	} {
		err := Check(expression)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.30s: got %v, want %q", expression, err, want)
		}
	}
}
