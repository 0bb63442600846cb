package main

import (
	"fmt"
	"strings"
	"time"
)

// chaosWriteTimeout is how long a side of a connection may take nothing.
const chaosWriteTimeout = 3 * time.Second

// chaosCaddyfile is the configuration under chaos. What it says of limits is filled in.
const chaosCaddyfile = `{` + globalOptions + `
	log connections {
		output file {dir}/connections {
			roll_disabled
		}
		format json
		include http.handlers.ws_gateway
	}
}
(gateways) {
	handle /plain {
		ws_gateway {both} {
			name plain
			import common
		}
	}
	handle /encrypted {
		ws_gateway {secure} {
			name encrypted
			import common
			transport http {
				tls_insecure_skip_verify
			}
		}
	}
	handle /limited {
		ws_gateway {both} {
			name limited
			import common
			{limited}
		}
	}
	handle /tight {
		ws_gateway {both} {
			name tight
			import common
			{tight}
		}
	}
}
(common) {
	header_up X-Connection {http.ws_gateway.connection}
	handshake_timeout 5s
	write_timeout 3s
	drain_period 1s
}
http://:{http}, http://:{wrapped} {
	import gateways
}
https://localhost:{https} {
	tls {pem} {key}
	import gateways
}
`

// version is a configuration, of which reloads make one after another.
type version struct {
	number int
	narrow bool // without the second upstream
	bare   bool // without any limits
}

// limited is what holds connections to everything, and ends none that behaves. What is
// above a rate waits.
func (v version) limited() string {
	if v.bare {
		return ""
	}
	return fmt.Sprintf(`limit {
				connections %d
				connections_per_ip %d
				connections_per_user 50000
				handshakes_per_ip 50000/1s
				message_size 2MiB
				messages %d/1s burst 50 wait
				bytes %dKiB/1s burst 1MiB wait
			}
			ping 500ms 20s
			idle_timeout 1m
			strict`, 40_000+v.number, 30_000+v.number, 60+v.number%20, 512+v.number%64)
}

// tight is what some connections are ended by.
func (v version) tight() string {
	if v.bare {
		return ""
	}
	return fmt.Sprintf(`limit {
				message_size %dKiB
				messages %d/1s burst 15 close
				bytes 1MiB/1s burst 1MiB close
			}
			idle_timeout 1s`, 100+v.number%20, 20+v.number%5)
}

// fill makes the Caddyfile for the version.
func (c *chaos) fill(g *gateway, v version) string {
	both := []string{c.processes[0].address, c.processes[1].address}
	if v.narrow {
		both = both[:1]
	}
	return g.configure(chaosCaddyfile, "{both}", strings.Join(both, " "), "{secure}", c.processes[2].address,
		"{pem}", c.pem, "{key}", c.key, "{limited}", v.limited(), "{tight}", v.tight())
}
