package redis

import (
	"net"
	"testing"
)

// slow is a connection whose good-bye takes as long as it likes.
type slow struct {
	net.Conn
	begun, bye chan struct{}
}

func (s slow) Close() error {
	close(s.begun)
	<-s.bye
	return nil
}

func TestNoConnectionWaitsForTheGoodByeOfAnother(t *testing.T) {
	t.Parallel()
	d := &dialer{conns: make(map[*conn]struct{})}
	hung := slow{begun: make(chan struct{}), bye: make(chan struct{})}
	c := &conn{Conn: hung, dialer: d}
	d.add(c)
	closed := make(chan error)
	go func() { closed <- c.Close() }()
	<-hung.begun
	if free := d.mu.TryLock(); !free {
		t.Error("it waits")
	} else {
		d.mu.Unlock()
	}
	close(hung.bye)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
