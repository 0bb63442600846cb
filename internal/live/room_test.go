package live

import (
	"testing"
	"unsafe"
)

func TestRoomTakesNoMoreThanItsSizeClass(t *testing.T) {
	t.Parallel()
	if size := unsafe.Sizeof(Room{}); size > 480 {
		t.Errorf("a connection takes %d bytes, and what is above 480 takes 512", size)
	}
}

func TestConnectionLiesInItsRoom(t *testing.T) {
	t.Parallel()
	room := new(Room)
	c := room.NewConn(nil, Details{ID: "x", Lease: &room.Lease, Seat: &room.Seat}, "a:1", Authority{})
	if c != &room.conn || c.ID != "x" || c.member != "a:1" {
		t.Errorf("the connection is %v at %p, want it at %p", c.ID, c, &room.conn)
	}
}
