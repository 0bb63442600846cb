package wsgateway

import (
	"sync"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

const (
	// statusStep is how far apart the points of a plot are.
	statusStep = 2 * time.Second

	// statusPoints are the last five minutes.
	statusPoints = 150
)

// statusSeries has the plots of the process, so that a reload leaves them as they are.
var statusSeries = newStatusSampler(process)

// statusCounts are a gateway's connections, and what it has counted so far.
type statusCounts struct {
	connections                 int
	handshakes, messages, bytes uint64
}

// statusHistory is the plots of a gateway, the newest point last: its connections, and the
// rest per second.
type statusHistory struct {
	Step        float64   `json:"step"` // in seconds
	Connections []int     `json:"connections"`
	Handshakes  []float64 `json:"handshakes"`
	Messages    []float64 `json:"messages"`
	Bytes       []float64 `json:"bytes"`
}

// statusSampler notes now and then, while a configuration has a page, what the gateways
// have counted.
type statusSampler struct {
	set  *live.Set
	turn chan struct{} // full while what a page is shown is computed

	mu      sync.Mutex // guards the following
	users   int
	stop    chan struct{}
	ring    map[string]*statusRing
	ready   map[string]int // the connections of upstreams and of wholeNode, when last seen not to drain
	sampled time.Time
}

// statusRing is what was noted of a gateway.
type statusRing struct {
	last   statusCounts
	points []statusPoint // at most statusPoints, the newest last
	quiet  int           // how many points in a row it was not there
}

type statusPoint struct {
	connections                 int
	handshakes, messages, bytes float64
}

func newStatusSampler(set *live.Set) *statusSampler {
	return &statusSampler{set: set, turn: make(chan struct{}, 1)}
}

// start samples until the last of those that started has stopped.
func (s *statusSampler) start() (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users++
	if s.users == 1 {
		s.stop = make(chan struct{})
		s.ring, s.ready, s.sampled = make(map[string]*statusRing), make(map[string]int), time.Time{}
		go s.run(s.stop)
	}
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.users--; s.users == 0 {
			close(s.stop)
		}
	})
}

func (s *statusSampler) run(stop <-chan struct{}) {
	defer contain(nil)
	ticker := time.NewTicker(statusStep)
	defer ticker.Stop()
	for {
		contained(nil, "", s.sample)
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
	}
}

// sample adds a point to each plot.
func (s *statusSampler) sample() {
	gateways, node := s.set.ViewUpstreams(), s.set.Node()
	counts, now := countsOf(s.set, gateways), time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteReadyLocked(gateways, node)
	seconds := now.Sub(s.sampled).Seconds()
	s.sampled = now
	for name := range counts {
		if s.ring[name] == nil {
			s.ring[name] = &statusRing{last: counts[name]}
		}
	}
	for name, ring := range s.ring {
		current, there := counts[name]
		if !there {
			current = ring.last // of a gateway that is gone, nothing more comes
			current.connections = 0
			ring.quiet++
		} else {
			ring.quiet = 0
		}
		if ring.quiet >= statusPoints {
			delete(s.ring, name)
			continue
		}
		ring.add(current, seconds)
	}
}

func (r *statusRing) add(current statusCounts, seconds float64) {
	if len(r.points) == statusPoints {
		copy(r.points, r.points[1:])
		r.points = r.points[:statusPoints-1]
	}
	r.points = append(r.points, statusPoint{
		connections: current.connections,
		handshakes:  rate(r.last.handshakes, current.handshakes, seconds),
		messages:    rate(r.last.messages, current.messages, seconds),
		bytes:       rate(r.last.bytes, current.bytes, seconds),
	})
	r.last = current
}

// rate is how much came in a second, to a tenth.
func rate(before, after uint64, seconds float64) float64 {
	if after <= before || seconds <= 0 {
		return 0
	}
	return float64(int64(float64(after-before)/seconds*10+0.5)) / 10
}

// history is the plots by the names of the gateways.
func (s *statusSampler) history() map[string]statusHistory {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]statusHistory, len(s.ring))
	for name, ring := range s.ring {
		n := len(ring.points)
		one := statusHistory{
			Step: statusStep.Seconds(), Connections: make([]int, n),
			Handshakes: make([]float64, n), Messages: make([]float64, n), Bytes: make([]float64, n),
		}
		for i, p := range ring.points {
			one.Connections[i], one.Handshakes[i], one.Messages[i], one.Bytes[i] = p.connections, p.handshakes, p.messages, p.bytes
		}
		all[name] = one
	}
	return all
}

// wholeNode stands for all upstreams: it is nobody's address.
const wholeNode = ""

// noteReadyLocked notes how many connections there are where nothing drains.
func (s *statusSampler) noteReadyLocked(gateways []live.GatewayView, node live.NodeView) {
	ready := map[string]int{wholeNode: node.Live}
	drains := map[string]bool{wholeNode: node.State == balance.Drain.String()}
	for _, g := range gateways {
		for _, up := range g.Upstreams {
			ready[up.Address] += up.Live
			drains[up.Address] = up.State == balance.Drain.String()
		}
	}
	for address, drain := range drains {
		if before, known := s.ready[address]; drain && known {
			ready[address] = before
		}
	}
	s.ready = ready
}

// drainedFrom returns how many connections an upstream, or wholeNode, had when its drain
// began, as far as that is known.
func (s *statusSampler) drainedFrom(address string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready[address]
}

// countsOf is what the gateways have counted.
func countsOf(set *live.Set, gateways []live.GatewayView) map[string]statusCounts {
	totals, handshakes := set.Totals(), set.Handshakes()
	counts := make(map[string]statusCounts, len(gateways))
	for _, g := range gateways {
		all := totals[g.Name]
		one := statusCounts{
			handshakes: handshakes[g.Name],
			messages:   all.FromClient.Messages() + all.FromUpstream.Messages(),
			bytes:      all.FromClient.Bytes + all.FromUpstream.Bytes,
		}
		for _, up := range g.Upstreams {
			one.connections += up.Live
		}
		counts[g.Name] = one
	}
	return counts
}
