//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// gateway is a Caddy with this module, and its admin endpoint.
type gateway struct {
	*process
	admin  string
	setup  setup
	client client
}

// alone prepares the gateway only.
func (b *bench) alone(ctx context.Context) error {
	b.peers = nameGateway
	return b.prepare(ctx)
}

// startGateway starts one, with what change sets up otherwise.
func (b *bench) startGateway(ctx context.Context, secure bool, change func(*setup)) (*gateway, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	g := &gateway{client: clientOf(addr, secure)}
	if g.admin, err = freeAddr(); err != nil {
		return nil, err
	}
	g.setup = b.setup(addr, secure)
	g.setup.Admin = g.admin
	change(&g.setup)
	cmd, err := startCaddy(nameGateway)(g.setup)
	if err != nil {
		return nil, err
	}
	if g.process, err = launch(ctx, cmd, b.workshop.dir, addr); err != nil {
		return nil, err
	}
	if err := b.vouch(&subject{client: g.client}); err != nil {
		g.stop()
		return nil, err
	}
	return g, nil
}

var admin = http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func (g *gateway) get(path string) ([]byte, error) {
	return answered(admin.Get("http://" + g.admin + path))
}

// answered is the body of a good answer.
func answered(res *http.Response, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %.200s", res.Status, body)
	}
	return body, err
}

// heap is what is live after a collection, in bytes.
func (g *gateway) heap() (float64, error) {
	for range 2 { // pools are emptied by the second collection
		if _, err := g.get("/debug/pprof/heap?gc=1"); err != nil {
			return 0, err
		}
	}
	vars, err := g.get("/debug/vars")
	if err != nil {
		return 0, err
	}
	var v struct {
		Memstats struct{ HeapAlloc float64 } `json:"memstats"`
	}
	if err := json.Unmarshal(vars, &v); err != nil {
		return 0, fmt.Errorf("reading the gateway's memory: %w", err)
	}
	return v.Memstats.HeapAlloc, nil
}

// metrics are the series of a metric, and their values.
func (g *gateway) metrics(name string) (map[string]float64, error) {
	text, err := g.get("/metrics")
	if err != nil {
		return nil, err
	}
	series := make(map[string]float64)
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		at := strings.LastIndexByte(rest, ' ')
		value, err := strconv.ParseFloat(strings.TrimSpace(rest[at:]), 64)
		if err != nil {
			return nil, err
		}
		series[rest[:at]] = value
	}
	return series, nil
}

// reload loads the configuration again.
func (g *gateway) reload() error {
	file, err := g.setup.write(nameGateway + ".caddyfile")
	if err != nil {
		return err
	}
	config, err := os.ReadFile(file) //nolint:gosec // which we wrote
	if err != nil {
		return err
	}
	_, err = answered(admin.Post("http://"+g.admin+"/load", "text/caddyfile", bytes.NewReader(config)))
	return err
}
