package dial

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Canonical spells an upstream's address in the one way in which the process knows it,
// however a configuration, a source of dynamic upstreams or an operator writes it. A
// text that has placeholders or is no address is left as it is.
func Canonical(address string) string {
	if address == "" || isCanonical(address) || strings.Contains(address, "{") {
		return address
	}
	network, host, port, err := caddy.SplitNetworkAddress(withoutScheme(address))
	switch {
	case err != nil:
		return address
	case caddy.IsUnixNetwork(network):
		if !strings.Contains(host, "..") { // cleaning ".." away leads elsewhere where there are symbolic links
			host = path.Clean(host)
		}
		return network + "/" + host
	case caddy.IsFdNetwork(network):
		return network + "/" + host
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return address
	}
	port = strconv.FormatUint(n, 10)
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
		network = strings.TrimRight(network, "46") // an IP address has but one family
	} else if host, err = canonicalHost(host); err != nil {
		return address
	}
	switch network {
	case "", "tcp":
		return net.JoinHostPort(host, port)
	case "tcp4", "tcp6", "udp", "udp4", "udp6":
		return network + "/" + net.JoinHostPort(host, port)
	}
	return address
}

// canonicalHost spells the name of a host in one way.
func canonicalHost(host string) (string, error) {
	if strings.ContainsFunc(host, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_'
	}) {
		return "", errors.New("not the name of a host")
	}
	host = strings.ToLower(host)
	if bare := strings.TrimSuffix(host, "."); strings.Contains(bare, ".") && !strings.HasSuffix(bare, ".") {
		return bare, nil // as in the answers of name servers
	}
	return host, nil
}

// isCanonical reports, at little cost, whether an address is canonical already: a name
// or an IPv4 address with a port. It may be false for an address that is canonical.
func isCanonical(address string) bool {
	colon := strings.LastIndexByte(address, ':')
	if colon <= 0 || address[colon-1] == '.' || colon+1 == len(address) || address[colon+1] == '0' {
		return false
	}
	for i := range len(address) {
		c := address[i]
		switch {
		case i > colon && (c < '0' || c > '9'):
			return false
		case i < colon && (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_':
			return false
		}
	}
	return true
}

// withoutScheme makes an address of a text that may be a URL, as in Caddyfiles.
func withoutScheme(address string) string {
	scheme, rest, found := strings.Cut(address, "://")
	if !found {
		return address
	}
	port := ""
	switch strings.ToLower(scheme) {
	case "http", "h2c":
		port = "80"
	case "https":
		port = "443"
	default:
		return address
	}
	if rest = strings.TrimSuffix(rest, "/"); rest == "" || strings.Contains(rest, "/") {
		return address
	}
	if _, _, err := net.SplitHostPort(rest); err != nil {
		rest = net.JoinHostPort(strings.Trim(rest, "[]"), port)
	}
	return rest
}

// Info returns where and how to reach an upstream at an address in which all
// placeholders are replaced.
func Info(up *reverseproxy.Upstream, address string) (reverseproxy.DialInfo, error) {
	addr, err := caddy.ParseNetworkAddress(address)
	if err != nil {
		return reverseproxy.DialInfo{}, fmt.Errorf("upstream %s: %w", strconv.Quote(address), err)
	}
	if n := addr.PortRangeSize(); n != 1 {
		return reverseproxy.DialInfo{}, fmt.Errorf("upstream %s: %d ports where there must be one", strconv.Quote(address), n)
	}
	return reverseproxy.DialInfo{
		Upstream: up,
		Network:  addr.Network,
		Address:  addr.JoinHostPort(0),
		Host:     addr.Host,
		Port:     strconv.FormatUint(uint64(addr.StartPort), 10),
	}, nil
}
