package bulletin

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

// model is a fleet to which things happen at random.
type model struct {
	*testing.T
	random *rand.Rand
	fleet  *memory.Fleet
	nodes  []*node
	starts int
	down   bool
}

// TestNodesEndUpWithTheSame whatever happens to them and to the engine.
func TestNodesEndUpWithTheSame(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *memory.Fleet) {
				m := &model{T: t, random: rand.New(rand.NewPCG(seed, 0)), fleet: f, nodes: make([]*node, 2+seed%4)}
				for i := range m.nodes {
					m.start(i, nil)
				}
				for range 60 {
					m.step()
				}
				m.end()
			})
		})
	}
}

func (m *model) start(i int, stored map[ref]string) {
	m.starts++
	m.nodes[i] = start(m, m.fleet, fmt.Sprintf("n%d", m.starts), options{stored: stored})
}

// step has one thing happen, and a while pass, or none.
func (m *model) step() {
	i := m.random.IntN(len(m.nodes))
	n := m.nodes[i]
	id := fmt.Sprint("r", m.random.IntN(4))
	switch m.random.IntN(14) {
	case 0:
		n.isolate(!n.isAway())
	case 1:
		m.down = !m.down
		m.fleet.Fail(nil)
		if m.down {
			m.fleet.Fail(errDown)
		}
	case 2:
		m.fleet.Flush()
	case 3:
		m.start(i, n.stop())
	case 4:
		m.fleet.Stall()
		bubble.Elapse(time.Duration(m.random.IntN(5)) * time.Second)
		m.fleet.Resume()
	case 5, 6:
		go func() { _ = n.unsay(ends, id) }()
	case 7, 8, 9:
		end := fmt.Sprint(m.random.IntN(1000))
		go func() { _ = n.say(ends, id, end) }()
	default:
		state := fmt.Sprint([]string{"ready", "drain", "maintenance"}[m.random.IntN(3)], m.random.IntN(1000))
		go func() { _ = n.say(states, id, state) }()
	}
	bubble.Elapse([]time.Duration{0, time.Millisecond, time.Second, 5 * time.Second}[m.random.IntN(4)])
}

// end has everything work again, and compares what all have.
func (m *model) end() {
	m.fleet.Fail(nil)
	for _, n := range m.nodes {
		n.isolate(false)
	}
	bubble.Elapse(time.Minute)
	inEngine := make(map[ref]string)
	records, _, _, err := m.fleet.Engine().Load(m.Context())
	known := m.nodes[0].board.known(records)
	if len(known) != len(records) {
		m.Errorf("of %d records %d are known", len(records), len(known))
	}
	for _, record := range known {
		v, ok := m.nodes[0].board.open(record)
		if !ok {
			m.Errorf("%s cannot be opened", record.ID)
		}
		inEngine[ref{record.Kind, record.ID}] = string(v.data)
	}
	if err != nil {
		m.Error(err)
	}
	for _, n := range m.nodes {
		n.want(text(inEngine))
		n.stop()
	}
}
