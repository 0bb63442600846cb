package live

import (
	"iter"
	"runtime"
)

// connections are the live connections, by their IDs, and what has come over those that
// are gone. The set's lock guards them. They lie in shards, in the order of their IDs: a
// look at all of them takes the lock for one shard after the other, and nobody waits for
// more than a moment.
type connections struct {
	shards [1024]shard
	count  int
}

// shard holds the connections whose IDs begin with the same ten bits. A connection does not
// leave its shard until it is gone, and its totals pass to those of the ended in the same
// step: who sees the whole of a shard sees all that has come, once.
type shard struct {
	live  map[string]*Conn
	ended map[string]*Totals // by gateway
}

// shardOf returns the index of the shard of an ID, which is hexadecimal.
func shardOf(id string) int {
	if len(id) < 3 {
		return 0
	}
	return nibble(id[0])<<6 | nibble(id[1])<<2 | nibble(id[2])>>2
}

func nibble(digit byte) int {
	if digit >= 'a' {
		digit -= 'a' - '9' - 1
	}
	return int(digit-'0') & 15
}

func (cs *connections) get(id string) *Conn { return cs.shards[shardOf(id)].live[id] }

func (cs *connections) add(c *Conn) {
	sh := &cs.shards[shardOf(c.ID)]
	if sh.live == nil {
		sh.live = make(map[string]*Conn)
	}
	sh.live[c.ID] = c
	cs.count++
}

// remove takes a connection out, over which so much has come in all. It is false where
// the connection was not there.
func (cs *connections) remove(c *Conn, all Totals) bool {
	sh := &cs.shards[shardOf(c.ID)]
	if sh.live[c.ID] != c {
		return false
	}
	delete(sh.live, c.ID)
	cs.count--
	if sh.ended[c.Gateway] == nil {
		if sh.ended == nil {
			sh.ended = make(map[string]*Totals)
		}
		sh.ended[c.Gateway] = new(Totals)
	}
	sh.ended[c.Gateway].add(all)
	return true
}

// all is for one look at all connections, for which the lock is held throughout.
func (cs *connections) all() iter.Seq[*Conn] {
	return func(yield func(*Conn) bool) {
		for i := range cs.shards {
			for _, c := range cs.shards[i].live {
				if !yield(c) {
					return
				}
			}
		}
	}
}

// unhurried are the indexes of the shards for a look that is in no hurry: whatever else is
// ready to run, the relay above all, does so in between.
func (cs *connections) unhurried() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range cs.shards {
			if !yield(i) {
				return
			}
			if i%8 == 0 {
				runtime.Gosched()
			}
		}
	}
}

// walk has visit called for each connection, under the lock, which is released between
// shards: each connection is seen as it is at some moment of the walk, and one that is
// added meanwhile may be seen or not.
func (s *Set) walk(visit func(*Conn)) {
	for i := range s.connections.shards {
		s.walkShard(i, visit)
	}
}

func (s *Set) walkShard(i int, visit func(*Conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.connections.shards[i].live {
		visit(c)
	}
}

// list returns the connections for which match, called under the lock, is true, as walk
// sees them.
func (s *Set) list(match func(*Conn) bool) []*Conn {
	var found []*Conn
	s.walk(func(c *Conn) {
		if match(c) {
			found = append(found, c)
		}
	})
	return found
}
