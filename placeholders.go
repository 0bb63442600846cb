package wsgateway

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// described answers for the placeholders that reverse_proxy has, where a handshake
// takes its place: those of the upstream that was tried last, of its answer, and of
// all the tries. Nobody asks for most of them most of the time.
type described struct {
	info    *reverseproxy.DialInfo // nil before
	address string
	since   time.Time // when it was turned to

	latency    time.Duration // until its answer
	status     int           // 0 without one
	statusText string

	retries  int
	duration time.Duration // of all; negative while it lasts
}

// turnTo describes the next try.
func (d *described) turnTo(info *reverseproxy.DialInfo, address string) {
	*d = described{info: info, address: address, since: time.Now(), duration: -1}
}

// answered describes the upstream's answer.
func (d *described) answered(res *http.Response, took time.Duration) {
	d.latency, d.status, d.statusText = took, res.StatusCode, res.Status
}

// finish describes what it all came to.
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

// ofUpstream is placeholder for what is known of the upstream itself.
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

// correct sets what reverse_proxy has taken from the passing on of a refusal, which
// has no latency and no tries of its own.
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
