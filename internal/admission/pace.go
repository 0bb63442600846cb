package admission

import "slices"

// pace is a rate, and how many bits of an IPv6 address are held to it.
type pace struct {
	rate Rate
	bits int
}

func (c Caps) pace() pace { return pace{c.Handshakes, c.Bits()} }

// trackedPace is a pace of a gateway. One that a reload has replaced is kept until all
// of its handshakes are over, so that they count for the one that has replaced it.
type trackedPace struct {
	pace
	configurations int
	until          int64 // by the clock of rates; 0 while a configuration has it
}

// replaced reports whether no configuration has the pace any more.
func (t trackedPace) replaced() bool { return t.until > 0 }

// past reports whether nobody needs to know the pace any more.
func (t trackedPace) past(now int64) bool { return t.replaced() && t.until <= now }

// mostReplaced is how many paces are kept that reloads have replaced.
const mostReplaced = 4

// trackPace notes that so many more configurations have the pace.
func (g *gateway) trackPace(p pace, more int, now int64) {
	paces := slices.DeleteFunc(slices.Clone(*g.paces.Load()), func(t trackedPace) bool { return t.past(now) })
	t := trackedPace{pace: p}
	if i := slices.IndexFunc(paces, func(t trackedPace) bool { return t.pace == p }); i >= 0 {
		t = paces[i]
		paces = slices.Delete(paces, i, i+1)
	}
	t.configurations += more
	t.until = 0
	if t.configurations == 0 {
		t.until = now + int64(min(p.rate.Per, longest))
	}
	paces = keep(append(paces, t))
	g.paces.Store(&paces)
}

// keep drops what is too much of the paces that were replaced, of which the last are
// behind, and all where no configuration has any.
func keep(paces []trackedPace) []trackedPace {
	replaced := 0
	for _, t := range paces {
		if t.replaced() {
			replaced++
		}
	}
	if replaced == len(paces) {
		return nil
	}
	return slices.DeleteFunc(paces, func(t trackedPace) bool {
		if !t.replaced() || replaced <= mostReplaced {
			return false
		}
		replaced--
		return true
	})
}

// pacesOf returns the paces of a gateway.
func (l *Local) pacesOf(gateway string) []trackedPace {
	g := (*l.gateways.Load())[gateway]
	if g == nil {
		return nil
	}
	return *g.paces.Load()
}
