package live

import "iter"

// ring keeps the latest values, up to most of them.
type ring[V any] struct {
	most   int
	values []V
	next   int // where the next value goes, once the ring is full
}

func (r *ring[V]) add(v V) {
	if len(r.values) < r.most {
		r.values = append(r.values, v)
		return
	}
	r.values[r.next] = v
	r.next = (r.next + 1) % r.most
}

func (r *ring[V]) latestFirst() iter.Seq[*V] {
	return func(yield func(*V) bool) {
		n := len(r.values)
		for i := range n {
			if !yield(&r.values[(r.next+n-1-i)%n]) {
				return
			}
		}
	}
}
