package admission

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"net/netip"
	"strings"
	"sync"
)

// client is whom a connection is of.
type client struct {
	ip   netip.Addr
	user string
}

// key is what connections are counted by: a network or a user.
type key struct {
	network [16]byte
	user    string
}

func (k key) compare(other key) int {
	return cmp.Or(bytes.Compare(k.network[:], other.network[:]), strings.Compare(k.user, other.user))
}

// Dimension is a way to count: by networks of so many bits, or by user.
type Dimension struct {
	ByUser bool
	Bits   int // of an IPv6 address
}

func (d Dimension) compare(other Dimension) int {
	if d.ByUser != other.ByUser {
		if d.ByUser {
			return 1
		}
		return -1
	}
	return cmp.Compare(d.Bits, other.Bits)
}

// dimensions returns the ways to count that the caps need.
func (c Caps) dimensions() []Dimension {
	var all []Dimension
	if c.PerIP > 0 {
		all = append(all, Dimension{Bits: c.Bits()})
	}
	if c.PerUser > 0 {
		all = append(all, Dimension{ByUser: true})
	}
	return all
}

// In returns the cap that holds in a dimension, 0 for none.
func (c Caps) In(d Dimension) (int, Limit) {
	switch {
	case d.ByUser:
		return c.PerUser, ConnectionsPerUser
	case d.Bits == c.Bits():
		return c.PerIP, ConnectionsPerIP
	}
	return 0, ""
}

// Bits returns how many bits of an IPv6 address are one client's.
func (c Caps) Bits() int {
	if c.IPv6Bits <= 0 {
		return DefaultIPv6Bits
	}
	return min(c.IPv6Bits, 128)
}

// Network returns what an address is counted by. IPv4 addresses are whole.
func Network(ip netip.Addr, bits int) (masked [16]byte) {
	ip = ip.Unmap()
	masked = ip.As16()
	if ip.Is4() {
		return masked
	}
	for i := range masked {
		masked[i] &= ^byte(0xff >> min(max(bits-8*i, 0), 8))
	}
	return masked
}

// tableShards is how many locks a table has. It also makes each of them short to hold
// for who looks at all keys.
const tableShards = 1 << 10

// table counts connections in one dimension.
type table struct {
	Dimension

	seed           maphash.Seed
	configurations int // that need it; guarded by the lock of tracking
	shards         [tableShards]shard
}

// shard is a part of a table.
type shard struct {
	table *table

	mu   sync.Mutex
	peak int // how many tallies there were at most since there were none

	// One of them has the tallies. Both are nil where there are none, or the table is
	// out of use. Two take less than one with the keys of both, by a third.
	networks map[[16]byte]*tally
	users    map[string]*tally
}

// tally is how many connections there are of a key.
type tally struct {
	shard       *shard
	key         key
	connections int
}

func newTable(d Dimension) *table {
	t := &table{Dimension: d, seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].table = t
	}
	return t
}

// keyOf returns what the table counts a client by. It is false for a client that the
// table has nothing to know of.
func (t *table) keyOf(c client) (key, bool) {
	if t.ByUser {
		return key{user: c.user}, c.user != ""
	}
	if !c.ip.IsValid() {
		return key{}, false
	}
	return key{network: Network(c.ip, t.Bits)}, true
}

func (t *table) shardOf(k key) *shard {
	return &t.shards[maphash.Comparable(t.seed, k)%tableShards]
}

// close forgets all keys. Tallies that seats still hold do no harm.
func (t *table) close() {
	for i := range t.shards {
		t.shards[i].close()
	}
}

func (s *shard) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.networks, s.users = nil, nil
}

// tallyLocked returns the tally of a key, nil for none.
func (s *shard) tallyLocked(k key) *tally {
	if s.table.ByUser {
		return s.users[k.user]
	}
	return s.networks[k.network]
}

func (s *shard) addLocked(t *tally) {
	switch {
	case s.table.ByUser && s.users == nil:
		s.users = map[string]*tally{t.key.user: t}
	case s.table.ByUser:
		s.users[t.key.user] = t
	case s.networks == nil:
		s.networks = map[[16]byte]*tally{t.key.network: t}
	default:
		s.networks[t.key.network] = t
	}
	s.peak = max(s.peak, len(s.networks)+len(s.users))
}

func (s *shard) removeLocked(t *tally) {
	if s.table.ByUser {
		delete(s.users, t.key.user)
	} else {
		delete(s.networks, t.key.network)
	}
	if len(s.networks)+len(s.users) == 0 && s.peak > 1<<6 {
		s.networks, s.users, s.peak = nil, nil, 0 // a map keeps the room that it once needed
	}
}

// take counts a connection of the key.
func (s *shard) take(k key) *tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.takeLocked(k)
}

func (s *shard) takeLocked(k key) *tally {
	t := s.tallyLocked(k)
	if t == nil {
		k.user = strings.Clone(k.user)
		t = &tally{shard: s, key: k}
		s.addLocked(t)
	}
	t.connections++
	return t
}

// release takes a connection out of the tally.
func (t *tally) release() {
	s := t.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	t.connections--
	if t.connections == 0 {
		s.removeLocked(t)
	}
}
