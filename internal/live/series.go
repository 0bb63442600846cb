package live

// pair is a gateway and the address of an upstream: the label values of the
// connections metric.
type pair struct{ gateway, upstream string }

type series struct {
	live    int
	streams int // of those that are live
	wanted  int // configurations that name the upstream
	totals
}

// Show notes that a gateway's configuration names an upstream by its address, until
// release: the upstream is shown also without a live connection.
func (s *Set) Show(gateway, upstream string) (release func()) {
	key := pair{gateway, upstream}
	s.count(key, 1)
	s.Ledger.Want(upstream, 1)
	return func() {
		s.count(key, -1)
		s.Ledger.Want(upstream, -1)
	}
}

func (s *Set) count(key pair, wanted int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changeLocked(key, func(one *series) { one.wanted += wanted })
}

// countLocked counts a connection that comes, by 1, or goes, by -1.
func (s *Set) countLocked(c *Conn, by int) {
	s.changeLocked(pair{c.Gateway, c.Upstream}, func(one *series) {
		one.live += by
		if c.IsStream() {
			one.streams += by
		}
		if by > 0 {
			one.opened++
		}
	})
}

func (s *Set) changeLocked(key pair, change func(*series)) {
	one := s.series[key]
	if one == nil {
		one = &series{totals: s.departed.takeLocked(key)}
		s.series[key] = one
	}
	change(one)
	if one.live == 0 && one.wanted == 0 {
		delete(s.series, key)
		s.departed.keepLocked(key, one.totals, s.presentLocked)
	}
}

// Failed counts a handshake that an upstream failed.
func (s *Set) Failed(gateway, upstream string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := pair{gateway, upstream}
	if one := s.series[key]; one != nil {
		one.failed++
		return
	}
	s.departed.keepLocked(key, totals{failed: 1}, s.presentLocked)
}

// presentLocked lists the dynamic upstreams of all gateways.
func (s *Set) presentLocked() []pair {
	var keys []pair
	for name, handlers := range s.gateways {
		for _, h := range handlers {
			for _, address := range h.Dynamic() {
				keys = append(keys, pair{name, address})
			}
		}
	}
	return keys
}
