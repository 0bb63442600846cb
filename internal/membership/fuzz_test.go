package membership

import (
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
)

// FuzzInfoOfOthers shows nodes that say anything of themselves.
func FuzzInfoOfOthers(f *testing.F) {
	f.Add("b", []byte(`{"name":"b","live":3,"upstreams":{"a:1":3}}`))
	f.Add("", []byte(`{"live":-1,"upstreams":{"":-5}}`))
	f.Fuzz(func(t *testing.T, id string, info []byte) {
		m := New(Config{ID: "self", Info: func() Info { return Info{Name: "self"} }})
		m.nodes = []fleet.Node{{ID: "self"}, {ID: id, Seen: time.Unix(1, 0), Info: info}}
		selves := 0
		for _, n := range m.View().Nodes {
			if n.Self {
				selves++
			}
			if n.Upstreams == nil {
				t.Error("a node has no upstreams, not even none")
			}
		}
		if selves != 1 {
			t.Errorf("the node is there %d times", selves)
		}
	})
}
