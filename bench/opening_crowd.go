//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"sync"
	"time"
)

// crowdOrder is what a process of clients is told at first. They come when it is told
// anything more, and stay until its input ends.
type crowdOrder struct {
	Addr         string
	Secure, Open bool
	Clients      int
}

// crowdReport is what became of them.
type crowdReport struct {
	Waits  []time.Duration // sorted, from when all began until each was let in
	Failed int
	First  string // of the errors
}

// serveCrowd has clients connect all at once, show a token, and stay.
func serveCrowd(in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	first, err := lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	var order crowdOrder
	if err := json.Unmarshal(first, &order); err != nil {
		return err
	}
	if _, err := lines.ReadBytes('\n'); err != nil {
		return err
	}
	links, report := order.come()
	defer closeAll(links)
	if err := json.NewEncoder(out).Encode(report); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, lines)
	return err
}

func (o crowdOrder) come() ([]*link, crowdReport) {
	c := clientOf(o.Addr, o.Secure)
	c.open = o.Open
	links, errs, waits := make([]*link, o.Clients), make([]error, o.Clients), make([]time.Duration, o.Clients)
	var ready, all sync.WaitGroup
	ready.Add(o.Clients)
	begin := make(chan struct{})
	var began time.Time
	for i := range o.Clients {
		all.Go(func() {
			ready.Done()
			<-begin
			links[i], errs[i] = c.dial("/")
			waits[i] = time.Since(began)
		})
	}
	ready.Wait()
	began = time.Now()
	close(begin)
	all.Wait()
	var r crowdReport
	for i, err := range errs {
		switch {
		case err == nil:
			r.Waits = append(r.Waits, waits[i])
		case r.Failed == 0:
			r.First = err.Error()
			fallthrough
		default:
			r.Failed++
		}
	}
	slices.Sort(r.Waits)
	return links, r
}

// crowd is a process of clients.
type crowd struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

func gather(self string, o crowdOrder) (*crowd, error) {
	c := &crowd{cmd: exec.Command(self, "-crowd")}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	c.out = json.NewDecoder(out)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	return c, json.NewEncoder(c.in).Encode(o)
}

// come has the clients connect, and returns when the last of them is through.
func (c *crowd) come() (crowdReport, error) {
	if _, err := io.WriteString(c.in, "now\n"); err != nil {
		return crowdReport{}, err
	}
	var r crowdReport
	err := c.out.Decode(&r)
	if err == nil && r.Failed > 0 {
		err = fmt.Errorf("%d of the clients failed, the first: %s", r.Failed, r.First)
	}
	return r, err
}

// leave ends the process, and with it the connections.
func (c *crowd) leave() error {
	return errors.Join(c.in.Close(), c.cmd.Wait())
}
