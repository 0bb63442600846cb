package wsgateway

import (
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// canonicalAddress spells an upstream's address in the one way in which it is
// known to the process, whatever way a configuration, a source of dynamic
// upstreams or an operator writes it. What has placeholders, and what is no
// address, is left as it is.
func canonicalAddress(address string) string {
	if address == "" || isCanonical(address) || hasPlaceholder(address) {
		return address
	}
	address = withoutScheme(address)
	network, host, port, err := caddy.SplitNetworkAddress(address)
	switch {
	case err != nil:
		return address
	case caddy.IsUnixNetwork(network):
		if !strings.Contains(host, "..") { // which leads elsewhere where there are symbolic links
			host = path.Clean(host)
		}
		return network + "/" + host
	case caddy.IsFdNetwork(network):
		return network + "/" + host
	}
	if n, err := strconv.ParseUint(port, 10, 16); err == nil {
		port = strconv.FormatUint(n, 10)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
		network = strings.TrimRight(network, "46") // an IP address has but one family
	} else {
		host = strings.ToLower(host)
		if bare := strings.TrimSuffix(host, "."); strings.Contains(bare, ".") {
			host = bare // as in the answers of name servers
		}
	}
	if network != "" && network != "tcp" {
		network += "/"
	} else {
		network = ""
	}
	return network + net.JoinHostPort(host, port)
}

// isCanonical reports, at little cost, that an address is a name or an IPv4 address
// with a port, spelled as it should be. It may be false where that is so.
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

// withoutScheme makes an address of what may be a URL, as Caddyfiles have it.
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
	rest = strings.TrimSuffix(rest, "/")
	if _, _, err := net.SplitHostPort(rest); err != nil {
		rest = net.JoinHostPort(strings.Trim(rest, "[]"), port)
	}
	return rest
}
