package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// upstreamProcess is a server behind the gateway that can be killed. Only its address may
// be asked while it is started or killed.
type upstreamProcess struct {
	address, pem, key string
	wrong             func(finding)

	instance string
	command  *exec.Cmd
	gone     chan struct{} // closed when the process has ended
}

func (p *upstreamProcess) start() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	command := exec.Command(self, "-chaos-upstream", p.address, "-pem", p.pem, "-key", p.key) //nolint:gosec // ourselves
	command.Stderr = os.Stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if _, err := command.StdinPipe(); err != nil { // the process ends when this does
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	lines := json.NewDecoder(bufio.NewReader(stdout))
	var instance string
	if err := lines.Decode(&instance); err != nil {
		return errors.Join(fmt.Errorf("an upstream does not start: %w", err), command.Process.Kill(), command.Wait())
	}
	gone := make(chan struct{})
	p.instance, p.command, p.gone = instance, command, gone
	go func() {
		defer close(gone)
		for {
			var f finding
			if err := lines.Decode(&f); err != nil {
				break
			}
			p.wrong(f)
		}
		_ = command.Wait()
	}()
	return nil
}

// kill ends the process at once, as kill -9 does.
func (p *upstreamProcess) kill() {
	_ = p.command.Process.Kill()
	<-p.gone
}

// live is how many connections the upstream has.
func (p *upstreamProcess) live() (int64, error) {
	client := http.Client{Timeout: clientPatience, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: clientTLS("http/1.1")}}
	scheme := "http://"
	if p.pem != "" {
		scheme = "https://"
	}
	body, err := answered(client.Get(scheme + p.address + livePath))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(body), 10, 64)
}

// weather is what befalls the gateway and its upstreams.
type weather struct {
	// Who reloads has these.
	version  version
	returned func() // ends the last removal

	mu       sync.Mutex           // guards what follows
	kills    map[string]time.Time // of an instance
	outages  []span               // when upstreams were gone
	reloads  []span
	removals []span // with where the upstream was
}

// span is a time in which something was not as usual.
type span struct {
	address string
	till    time.Time // zero while it lasts
}

// killed reports whether an instance, or any if it is not known, was killed since.
func (w *weather) killed(instance string, since time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if instance != "" {
		_, ok := w.kills[instance]
		return ok
	}
	for _, at := range w.kills {
		if at.After(since) {
			return true
		}
	}
	return false
}

// removed reports whether the upstream of an instance was taken away since.
func (w *weather) removed(instance string, since time.Time) bool {
	address, _, _ := strings.Cut(instance, "/")
	return w.touches(&w.removals, address, since, 0)
}

// disturbed reports whether handshakes may have failed since: an upstream was gone, or
// there was a reload.
func (w *weather) disturbed(since time.Time) (gone, reloaded bool) {
	const aftermath = 3 * time.Second
	return w.touches(&w.outages, "", since, aftermath), w.touches(&w.reloads, "", since, aftermath)
}

func (w *weather) touches(spans *[]span, address string, since time.Time, aftermath time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range *spans {
		if (address == "" || s.address == address) && (s.till.IsZero() || s.till.Add(aftermath).After(since)) {
			return true
		}
	}
	return false
}

func (w *weather) begin(spans *[]span, address string) (end func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*spans = append(*spans, span{address: address})
	at := len(*spans) - 1
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		(*spans)[at].till = time.Now()
	}
}

// blow makes weather until the end, and leaves everything as it was in the beginning.
func (c *chaos) blow(ctx context.Context) error {
	var both sync.WaitGroup
	var killing, reloading error
	both.Go(func() { killing = c.every(ctx, c.killEvery, c.random(-1), c.strike) })
	both.Go(func() { reloading = c.every(ctx, c.reloadEvery, c.random(-2), c.reload) })
	both.Wait()
	if err := errors.Join(killing, reloading); err != nil {
		return err
	}
	c.weather.version.narrow = true // so that the next one is not
	return c.reload(c.random(-3))
}

func (c *chaos) every(ctx context.Context, d time.Duration, r *rand.Rand, do func(*rand.Rand) error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(d/2 + time.Duration(r.Int64N(int64(d)))):
		}
		if err := do(r); err != nil {
			return err
		}
	}
}

// strike kills an upstream, and starts it again.
func (c *chaos) strike(r *rand.Rand) error {
	p := c.processes[r.IntN(len(c.processes))]
	end := c.weather.begin(&c.weather.outages, p.address)
	defer end()
	c.weather.mu.Lock()
	c.weather.kills[p.instance] = time.Now()
	c.weather.mu.Unlock()
	p.kill()
	time.Sleep(time.Duration(r.IntN(700)) * time.Millisecond)
	return p.start()
}

// reload makes the next version.
func (c *chaos) reload(*rand.Rand) error {
	w := &c.weather
	v := w.version
	v.number++
	v.narrow = !v.narrow && v.number%2 == 0
	end := w.begin(&w.reloads, "")
	defer end()
	if v.narrow {
		w.returned = w.begin(&w.removals, c.processes[1].address)
	}
	if err := c.gateway.load(c.fill(c.gateway, v)); err != nil {
		return fmt.Errorf("reloading: %w", err)
	}
	if !v.narrow && w.returned != nil {
		w.returned()
		w.returned = nil
	}
	w.version = v
	return nil
}
