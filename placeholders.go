package wsgateway

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// described holds the values of reverse_proxy's placeholders for a handshake, which
// does not go through reverse_proxy: about the upstream that was tried last, its
// answer, and all tries. Most are never asked for, so values are made on demand.
type described struct {
	info    *reverseproxy.DialInfo // nil before the first try
	address string
	since   time.Time // when the try began

	latency    time.Duration // until the upstream answered
	status     int           // of the answer; 0 without one
	statusText string

	retries  int
	duration time.Duration // of all tries; negative while they last
}

// turnTo describes the next try, which begins now.
func (d *described) turnTo(info *reverseproxy.DialInfo, address string) {
	*d = described{info: info, address: address, since: time.Now(), duration: -1}
}

// answered describes the upstream's answer.
func (d *described) answered(res *http.Response, took time.Duration) {
	d.latency, d.status, d.statusText = took, res.StatusCode, res.Status
}

// finish describes all tries together.
func (d *described) finish(start time.Time, tries int) {
	d.retries, d.duration = max(tries-1, 0), time.Since(start)
}

// placeholder implements caddy.ReplacerFunc.
func (d *described) placeholder(name string) (any, bool) {
	switch name {
	case "http.reverse_proxy.status_code":
		return d.status, d.status != 0
	case "http.reverse_proxy.status_text":
		return d.statusText, d.status != 0
	case "http.reverse_proxy.retries":
		return d.retries, d.duration >= 0
	case "http.reverse_proxy.duration":
		return d.duration, d.duration >= 0
	case "http.reverse_proxy.duration_ms":
		return milliseconds(d.duration), d.duration >= 0
	case "http.reverse_proxy.upstream.latency", "http.reverse_proxy.upstream.duration":
		return d.latency, d.status != 0
	case "http.reverse_proxy.upstream.latency_ms", "http.reverse_proxy.upstream.duration_ms":
		return milliseconds(d.latency), d.status != 0
	}
	if d.info == nil {
		return nil, false
	}
	return d.ofUpstream(name)
}

// ofUpstream is placeholder for the names that are about the upstream itself.
func (d *described) ofUpstream(name string) (any, bool) {
	switch name {
	case upstreamPlaceholder:
		return d.address, true
	case "http.reverse_proxy.upstream.address":
		return d.info.String(), true
	case "http.reverse_proxy.upstream.hostport":
		return d.info.Address, true
	case "http.reverse_proxy.upstream.host":
		return d.info.Host, true
	case "http.reverse_proxy.upstream.port":
		return d.info.Port, true
	case "http.reverse_proxy.upstream.max_requests":
		return d.info.Upstream.MaxRequests, true
	}
	host := d.info.Upstream.Host
	if host == nil {
		return nil, false
	}
	switch name {
	case "http.reverse_proxy.upstream.requests":
		return host.NumRequests(), true
	case "http.reverse_proxy.upstream.fails":
		return host.Fails(), true
	}
	return nil, false
}

// correct sets the placeholders that reverse_proxy has set wrongly when it passed on a
// refusal, because it took no part in the tries.
func (d *described) correct(repl *caddy.Replacer) {
	repl.Set("http.reverse_proxy.upstream.latency", d.latency)
	repl.Set("http.reverse_proxy.upstream.latency_ms", milliseconds(d.latency))
	took := time.Since(d.since)
	repl.Set("http.reverse_proxy.upstream.duration", took)
	repl.Set("http.reverse_proxy.upstream.duration_ms", milliseconds(took))
	took += d.duration - d.latency // before this one was turned to
	repl.Set("http.reverse_proxy.duration", took)
	repl.Set("http.reverse_proxy.duration_ms", milliseconds(took))
	repl.Set("http.reverse_proxy.retries", d.retries)
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1e3 }
