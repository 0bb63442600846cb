package wsgateway

import (
	"encoding/json"
	"testing"
)

func TestSourceIsTheSameByWhatItLooksUp(t *testing.T) {
	t.Parallel()
	const a = `{"source":"a","name":"app","port":"80"}`
	for name, row := range map[string]struct {
		one, other string
		same       bool
	}{
		"order and white space":     {a, `{ "port": "80", "name": "app", "source": "a" }`, true},
		"refresh":                   {a, `{"source":"a","name":"app","port":"80","refresh":700000000}`, true},
		"timeouts of the lookup":    {a, `{"source":"a","name":"app","port":"80","dial_timeout":1,"dial_fallback_delay":2}`, true},
		"grace period of SRV":       {`{"source":"srv","name":"app"}`, `{"source":"srv","name":"app","grace_period":5}`, true},
		"refresh of one of several": {`{"source":"multi","sources":[` + a + `]}`, `{"source":"multi","sources":[{"source":"a","name":"app","port":"80","refresh":1}]}`, true},
		"another name":              {a, `{"source":"a","name":"other","port":"80"}`, false},
		"another port":              {a, `{"source":"a","name":"app","port":"81"}`, false},
		"another resolver":          {a, `{"source":"a","name":"app","port":"80","resolver":{"addresses":["10.0.0.1"]}}`, false},
		"one more":                  {`{"source":"multi","sources":[` + a + `]}`, `{"source":"multi","sources":[` + a + `,` + a + `]}`, false},
		"what others call refresh":  {`{"source":"other","refresh":1}`, `{"source":"other","refresh":2}`, false},
		"damaged":                   {`{`, `{{`, false},
	} {
		one, other := sourceMember(json.RawMessage(row.one)), sourceMember(json.RawMessage(row.other))
		if (one == other) != row.same {
			t.Errorf("%s: %s and %s", name, one, other)
		}
	}
}
