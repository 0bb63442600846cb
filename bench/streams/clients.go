package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// clients are those of the streams, of which each comes back when its stream has ended.
type clients struct {
	ctx    context.Context // of all of them
	cancel context.CancelFunc
	http   *http.Client
	url    string
	token  string

	running  sync.WaitGroup
	open     atomic.Int64 // that have been greeted
	received atomic.Int64 // events, beyond greetings
	back     atomic.Int64 // that have come back

	mu     sync.Mutex
	ends   []time.Time // of bodies that ended in order
	faults []error     // of streams that did not, up to a few
}

func newClients(ctx context.Context, proto, address, token string) *clients {
	c := &clients{url: "http://" + address + "/events", token: token}
	c.ctx, c.cancel = context.WithCancel(ctx)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(proto == "h1")
	protocols.SetUnencryptedHTTP2(proto == "h2")
	c.http = &http.Client{Transport: &http.Transport{
		Protocols: protocols, ReadBufferSize: 512, WriteBufferSize: 512, MaxIdleConnsPerHost: 1 << 20, DisableCompression: true,
	}}
	return c
}

// start opens streams, a few at a time, and waits until all have been greeted.
func (c *clients) start(n int) error {
	before := c.open.Load()
	turns := make(chan struct{}, 32)
	for range n {
		turns <- struct{}{}
		c.running.Go(func() { c.live(func() { <-turns }) })
	}
	return within(2*time.Minute, "all streams are open", func() (bool, error) {
		return c.open.Load() >= before+int64(n), c.fault()
	})
}

// live is the life of a client, of which greeted is called once.
func (c *clients) live(greeted func()) {
	greeted = sync.OnceFunc(greeted)
	defer greeted()
	for again := false; ; again = true {
		err := c.stream(func() {
			if again {
				c.back.Add(1)
			}
			c.open.Add(1)
			greeted()
		})
		switch {
		case c.ctx.Err() != nil:
			return
		case err != nil:
			c.note(err)
			return
		}
	}
}

// stream reads one stream to its end. Every byte has to be that of an event, in order.
func (c *clients) stream(greeted func()) error {
	r, err := http.NewRequestWithContext(c.ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Authorization", "Bearer "+c.token)
	res, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New("answered " + res.Status)
	}
	var buf [eventSize]byte
	for n := 0; ; n++ {
		if _, err := io.ReadFull(res.Body, buf[:]); err == io.EOF {
			c.noteEnd()
			return nil
		} else if err != nil {
			return fmt.Errorf("torn in event %d: %w", n, err)
		}
		if id, err := strconv.Atoi(string(buf[4:14])); err != nil || id != n || string(buf[eventSize-2:]) != "\n\n" {
			return fmt.Errorf("lost event %d: got %q", n, buf[:20])
		}
		if n == greetings-1 {
			greeted()
		} else if n >= greetings {
			c.received.Add(1)
		}
	}
}

func (c *clients) noteEnd() {
	c.open.Add(-1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ends = append(c.ends, time.Now())
}

func (c *clients) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.faults) < 5 {
		c.faults = append(c.faults, err)
	}
}

func (c *clients) fault() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.faults...)
}

func (c *clients) endings() []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ends
}

// stop has all clients leave.
func (c *clients) stop() {
	c.cancel()
	c.running.Wait()
	c.http.CloseIdleConnections()
}

// within waits until something is so.
func within(most time.Duration, what string, is func() (bool, error)) error {
	for deadline := time.Now().Add(most); ; time.Sleep(20 * time.Millisecond) {
		switch done, err := is(); {
		case err != nil:
			return err
		case done:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("waited %s in vain until %s", most, what)
		}
	}
}
