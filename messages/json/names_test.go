package json

import (
	"encoding/json"
	"testing"
)

func TestNamesAreComparedAsWhatTheyStandFor(t *testing.T) {
	for _, c := range []struct {
		spelled, name string
		same          bool
	}{
		{`user`, "user", true}, {`User`, "user", false}, {`users`, "user", false}, {`use`, "user", false},
		{`us\u0065r`, "user", true}, {`\u0075\u0073\u0065\u0072`, "user", true}, {`us\u0045r`, "user", false},
		{`us\u0065`, "user", false}, {`us\u0065rs`, "user", false}, {`a\/b`, "a/b", true}, {`a\\b`, `a\b`, true},
		{`\"`, `"`, true}, {`\b\f\n\r\t`, "\b\f\n\r\t", true}, {`\ud83d\ude00`, "😀", true}, {`\uD83D\uDE00!`, "😀!", true},
		{`\ud83d`, "\uFFFD", true}, {`\ude00\ud83d`, "\uFFFD\uFFFD", true}, {`\ud83dx`, "\uFFFDx", true},
		{`\ud83d\u0041`, "\uFFFDA", true}, {`\u00e9`, "é", true}, {`é`, "é", true}, {`user\u0000`, "user", false},
	} {
		if got := sameName([]byte(c.spelled), c.name); got != c.same {
			t.Errorf("%s and %q: got %v", c.spelled, c.name, got)
		}
		var decoded string
		if err := json.Unmarshal([]byte(`"`+c.spelled+`"`), &decoded); err != nil || (decoded == c.name) != c.same {
			t.Errorf("encoding/json has %q for %s: %v", decoded, c.spelled, err)
		}
	}
}
