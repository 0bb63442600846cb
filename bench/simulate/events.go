package main

import (
	"container/heap"
	"time"
)

// event is something that happens to a client, or anything else.
type event struct {
	at   time.Duration
	what func()

	// For clients, of whom there are many, instead of what.
	client *client
	kind   kind
	life   uint32 // of the client, which may have begun another since
}

// kind is what happens to a client.
type kind uint8

const (
	arrives   kind = iota // asks for a host
	connected             // the handshake is over
	leaves                // ends its connection by itself
	departs               // is told to
)

// agenda holds what is to happen, the next first.
type agenda []event

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].at < a[j].at }
func (a agenda) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }

// Push and Pop are for heap.Interface alone: add and next do without boxing.
func (a *agenda) Push(any) { panic("use add") }
func (a *agenda) Pop() any { panic("use next") }

func (a *agenda) add(e event) {
	*a = append(*a, e)
	heap.Fix(a, len(*a)-1)
}

func (a *agenda) next() event {
	e := (*a)[0]
	last := len(*a) - 1
	(*a)[0] = (*a)[last]
	(*a)[last] = event{}
	*a = (*a)[:last]
	if last > 0 {
		heap.Fix(a, 0)
	}
	return e
}
