package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// child is another role of this program, in a process of its own. It is told
// what to do on its standard input and answers on its output, in JSON.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	enc *json.Encoder
	dec *json.Decoder
}

// order is what the clients are told.
type order struct {
	Do string // open, pause, move, expect, settle, hush or part

	// With open alone:
	Plain, TLS    string // where the gateway is
	Conns, Movers int
	Leaving       string // the upstream that is added and removed
}

// summary is what the clients saw so far of connections that are over.
type summary struct {
	Messages int // that came back
	Bytes    int // of these

	Dropped int // connections that ended and should have stayed
	Drained int // ended with 1012, at the upstream that was removed
	Undue   int // ended in another way there
	Parted  int // ended with 1001, as the gateway exited
	Lost    int // bytes that never came back, but for those at a drain
	Wrong   int // connections on which a message came back changed, or out of order
	Retried int // handshakes that broke off, as the socket of an old configuration was closed

	Complaints []string // the first few of what went wrong, in words
	Error      string
}

func startChild(ctx context.Context, role string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, self, "-role", role)} //nolint:gosec // this very program
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.enc, c.dec = json.NewEncoder(c.in), json.NewDecoder(out)
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the %s: %w", role, err)
	}
	return c, nil
}

// receive waits for an answer.
func (c *child) receive(into any) error { return c.dec.Decode(into) }

// ask gives an order and waits until it is done.
func (c *child) ask(o order) (summary, error) {
	var s summary
	if err := c.enc.Encode(o); err != nil {
		return s, fmt.Errorf("telling the clients to %s: %w", o.Do, err)
	}
	if err := c.receive(&s); err != nil {
		return s, fmt.Errorf("waiting for the clients to %s: %w", o.Do, err)
	}
	if s.Error != "" {
		return s, fmt.Errorf("the clients cannot %s: %s %q", o.Do, s.Error, s.Complaints)
	}
	return s, nil
}

// stop ends the process: by the end of its input, or else by force.
func (c *child) stop() {
	if c == nil {
		return
	}
	_ = c.in.Close()
	force := time.AfterFunc(5*time.Second, func() { _ = c.cmd.Process.Kill() })
	defer force.Stop()
	_ = c.cmd.Wait()
}
