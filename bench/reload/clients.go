package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// messageEvery is how often each connection sends something.
	messageEvery = 4 * time.Second
	// pauseTime lets messages flow between reloads.
	pauseTime = 200 * time.Millisecond
	// patience is how long anything may take here.
	patience = time.Minute

	senders        = 8
	dialsAtOnce    = 64
	mostComplaints = 10
)

// fleet is all clients.
type fleet struct {
	order     order // the first one
	seats     []*seat
	dials     chan struct{}
	removing  atomic.Bool // the upstream that leaves is about to be removed
	finishing atomic.Bool // nobody connects any more
	parting   atomic.Bool // the gateway is about to exit
	running   sync.WaitGroup

	mu      sync.Mutex // guards what follows
	summary summary
}

// runClients does what it is told on its standard input, until that ends.
func runClients() error {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	f := &fleet{dials: make(chan struct{}, dialsAtOnce)}
	for {
		var o order
		if err := in.Decode(&o); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		err := f.obey(o)
		f.mu.Lock()
		s := f.summary
		f.mu.Unlock()
		if err != nil {
			s.Error = err.Error()
		}
		if err := out.Encode(s); err != nil {
			return err
		}
	}
}

func (f *fleet) obey(o order) error {
	switch o.Do {
	case "open":
		return f.open(o)
	case "pause":
		time.Sleep(pauseTime)
		return nil
	case "move":
		f.removing.Store(false)
		f.close(f.seats[:f.order.Movers])
		return f.settle()
	case "expect":
		f.removing.Store(true)
		return nil
	case "settle":
		return f.settle()
	case "hush":
		return f.hush()
	case "part":
		return f.part()
	}
	return fmt.Errorf("%q is unknown", o.Do)
}

func (f *fleet) open(o order) error {
	f.order = o
	for i := range o.Conns {
		s := &seat{fleet: f, id: i, secure: i%2 == 1}
		f.seats = append(f.seats, s)
		f.running.Go(s.keepOpen)
	}
	if err := f.settle(); err != nil {
		return err
	}
	for i := range senders {
		f.running.Go(func() { f.sendFor(i) })
	}
	return nil
}

// sendFor sends for every connection of one sender's, evenly over the time.
func (f *fleet) sendFor(sender int) {
	mine := (len(f.seats) + senders - 1) / senders
	ticker := time.NewTicker(max(time.Millisecond, messageEvery/time.Duration(mine)))
	defer ticker.Stop()
	for {
		for i := sender; i < len(f.seats); i += senders {
			if f.finishing.Load() {
				return
			}
			f.seats[i].send()
			<-ticker.C
		}
	}
}

// settle waits until every connection is open, and none where it may not be, and
// each has had its first message back.
func (f *fleet) settle() error {
	deadline := time.Now().Add(patience)
	for _, s := range f.seats {
		for !s.isSettled() {
			if time.Now().After(deadline) {
				return errors.New("waited in vain for every connection to be open")
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return nil
}

// hush sends no more, and waits until everything has come back.
func (f *fleet) hush() error {
	f.finishing.Store(true)
	f.quieten(f.seats)
	f.parting.Store(true)
	return nil
}

// part waits until every connection is over, as the gateway exits.
func (f *fleet) part() error {
	done := make(chan struct{})
	go func() {
		f.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-time.After(patience):
		return errors.New("not every connection ended")
	}
}

// close ends connections from the clients' side, when everything has come back.
func (f *fleet) close(seats []*seat) {
	f.quieten(seats)
	for _, s := range seats {
		s.leave()
	}
}

// quieten stops sending and waits until everything has come back. What does not
// in time is counted as lost when the connection ends.
func (f *fleet) quieten(seats []*seat) {
	for _, s := range seats {
		s.hush()
	}
	deadline := time.Now().Add(patience)
	for _, s := range seats {
		for !s.isEven() && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
	}
}

func (f *fleet) note(change func(*summary)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.summary)
}

func (f *fleet) complain(format string, args ...any) {
	f.note(func(s *summary) {
		if len(s.Complaints) < mostComplaints {
			s.Complaints = append(s.Complaints, fmt.Sprintf(format, args...))
		}
	})
}
