package live

import (
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// Totals are what has come from either side over the connections of a gateway, those that
// are gone among them. They are exact, and never go back.
type Totals struct {
	FromClient   Traffic `json:"from_client"`
	FromUpstream Traffic `json:"from_upstream"`
}

// Traffic counts messages by type, control frames and bytes of payload of one direction.
type Traffic struct {
	Text   uint64 `json:"text"`
	Binary uint64 `json:"binary"`
	Pings  uint64 `json:"ping"`
	Pongs  uint64 `json:"pong"`
	Closes uint64 `json:"close"`
	Bytes  uint64 `json:"bytes"` // of messages
}

// Messages counts the messages of both types.
func (t Traffic) Messages() uint64 { return t.Text + t.Binary }

func (t *Totals) add(other Totals) {
	t.FromClient.add(other.FromClient)
	t.FromUpstream.add(other.FromUpstream)
}

func (t *Traffic) add(other Traffic) {
	t.Text += other.Text
	t.Binary += other.Binary
	t.Pings += other.Pings
	t.Pongs += other.Pongs
	t.Closes += other.Closes
	t.Bytes += other.Bytes
}

func trafficOf(c wsframe.Counts) Traffic {
	return Traffic{Text: c.Text, Binary: c.Binary, Pings: c.Pings, Pongs: c.Pongs, Closes: c.Closes, Bytes: c.Bytes}
}

// totals is what has come over the connection so far.
func (c *Conn) totals() Totals {
	if c.Link == nil {
		return Totals{}
	}
	fromClient, fromUpstream := c.Link.Counts()
	return Totals{trafficOf(fromClient), trafficOf(fromUpstream)}
}

// Totals returns what has come over the connections of each gateway.
func (s *Set) Totals() map[string]Totals {
	sums := make(map[string]*Totals)
	sum := func(gateway string) *Totals {
		if sums[gateway] == nil {
			sums[gateway] = new(Totals)
		}
		return sums[gateway]
	}
	var live []*Conn
	for i := range s.connections.unhurried() {
		live = s.sumEnded(i, live[:0], func(gateway string, ended *Totals) { sum(gateway).add(*ended) })
		for _, c := range live {
			sum(c.Gateway).add(c.totals()) // also if it is gone by now: these are all its own
		}
	}
	all := make(map[string]Totals, len(sums))
	for gateway, t := range sums {
		all[gateway] = *t
	}
	return all
}

// sumEnded adds the ended connections of a shard, and appends those that are live at the
// same moment.
func (s *Set) sumEnded(i int, live []*Conn, add func(gateway string, ended *Totals)) []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := &s.connections.shards[i]
	for gateway, ended := range sh.ended {
		add(gateway, ended)
	}
	for _, c := range sh.live {
		live = append(live, c)
	}
	return live
}
