package live

import (
	"testing"
	"testing/synctest"
)

func TestNothingIsPendingWhereEverybodyReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		client, backend := open(t, s, "a:1", "a:1", 0)
		if got := s.Pending(); len(got) != 0 {
			t.Errorf("pending are %v", got)
		}
		client.Close()
		backend.Close()
	})
}

func TestTotalsOfAGatewayThatIsGoneAreForgotten(t *testing.T) {
	t.Parallel()
	s := newSet()
	for i := range s.connections.shards {
		s.connections.shards[i].ended = map[string]*Totals{
			"gone": {FromClient: Traffic{Text: 1}}, "there": {FromUpstream: Traffic{Bytes: 1}},
		}
	}
	s.Forget("gone")
	want := Totals{FromUpstream: Traffic{Bytes: uint64(len(s.connections.shards))}}
	if after := s.Totals(); len(after) != 1 || after["there"] != want {
		t.Errorf("left are %v", after)
	}
}
