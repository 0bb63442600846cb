package wsgateway

import (
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/origin"
)

// forwardedFields are set, for every upstream, by what the gateway knows of the client:
// its address, and the scheme and the host by which it came.
var forwardedFields = []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"}

// aliases removes the spellings of asserted header fields that servers take
// for the same field: many fold `_` and `.` to `-`.
type aliases map[string][]string // by folded name, the names that are asserted

// newAliases covers the fields that header operations assert, and the X-Forwarded-*
// fields, which are always asserted.
func newAliases(ops *headers.HeaderOps) aliases {
	a := make(aliases)
	for _, name := range forwardedFields {
		a[handshake.Fold(name)] = append(a[handshake.Fold(name)], name)
	}
	if ops == nil {
		return a
	}
	names := slices.Clone(ops.Delete)
	for name := range ops.Set {
		names = append(names, name)
	}
	for name := range ops.Add {
		names = append(names, name)
	}
	for _, name := range names {
		if !strings.ContainsAny(name, "{*") {
			a[handshake.Fold(name)] = append(a[handshake.Fold(name)], http.CanonicalHeaderKey(name))
		}
	}
	return a
}

// strip removes every other spelling of an asserted field. The field in its
// own spelling is left to the header operation, which replaces or removes it.
func (a aliases) strip(h http.Header) {
	var folded [64]byte
	for name := range h {
		if asserted := a[string(handshake.AppendFold(folded[:0], name))]; asserted != nil && !slices.Contains(asserted, name) {
			delete(h, name)
		}
	}
}

// forwarder sets X-Forwarded-* and Via as reverse_proxy does.
type forwarder struct {
	trusted []netip.Prefix
}

// newForwarder parses the ranges of trusted_proxies; reverse_proxy has
// validated them.
func newForwarder(ranges []string) forwarder {
	var f forwarder
	for _, s := range ranges {
		if prefix, err := netip.ParsePrefix(s); err == nil {
			f.trusted = append(f.trusted, prefix)
		} else if addr, err := netip.ParseAddr(s); err == nil {
			f.trusted = append(f.trusted, netip.PrefixFrom(addr, addr.BitLen()))
		}
	}
	return f
}

// trusts reports whether the peer that sent the request is a trusted proxy, so that
// the X-Forwarded-* fields of the request count.
func (f forwarder) trusts(r *http.Request) bool {
	if trusted, ok := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); ok && trusted {
		return true
	}
	addr, err := netip.ParseAddr(peerIP(r))
	return err == nil && slices.ContainsFunc(f.trusted, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// origin is the scheme and host under which the client reached the gateway.
func (f forwarder) origin(r *http.Request) origin.Self {
	self := origin.Self{Scheme: "https", Host: r.Host}
	if r.TLS == nil {
		self.Scheme = "http"
	}
	if f.trusts(r) {
		self.Scheme = lastValue(r.Header, "X-Forwarded-Proto", self.Scheme)
		self.Host = lastValue(r.Header, "X-Forwarded-Host", self.Host)
	}
	return self
}

// pageOrigin is the origin that a page of the same site has: as origin, with the port
// that a trusted proxy names where the host has none.
func (f forwarder) pageOrigin(r *http.Request) origin.Self {
	self := f.origin(r)
	if !f.trusts(r) {
		return self
	}
	port := lastValue(r.Header, "X-Forwarded-Port", "")
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return self
	}
	return self.WithPort(port)
}

// forward sets the fields in h, the header of a request to an upstream, which has no
// hop-by-hop fields. r is the client's request.
func (f forwarder) forward(r *http.Request, h http.Header) {
	ip := peerIP(r)
	trusted := f.trusts(r)
	if ip == "" && !trusted {
		for _, name := range forwardedFields {
			delete(h, name)
		}
	} else {
		self := f.origin(r)
		chain := ip
		if prior := strings.Join(h["X-Forwarded-For"], ", "); trusted && prior != "" {
			chain = prior
			if ip != "" {
				chain += ", " + ip
			}
		}
		values := [...]string{chain, self.Scheme, self.Host}
		for i, name := range forwardedFields {
			h[name] = values[i : i+1 : i+1]
		}
	}
	h["Via"] = append(slices.Clip(h["Via"]), via(r))
}

// via is what the gateway adds to Via.
func via(r *http.Request) string {
	if r.ProtoMajor == 1 && r.ProtoMinor == 1 {
		return "1.1 Caddy"
	}
	return strconv.Itoa(r.ProtoMajor) + "." + strconv.Itoa(r.ProtoMinor) + " Caddy"
}

// lastValue is the last value of a field that may hold a list, or the default.
func lastValue(h http.Header, name, otherwise string) string {
	values := handshake.ListOf(h[name])
	if len(values) == 0 {
		return otherwise
	}
	return values[len(values)-1]
}
