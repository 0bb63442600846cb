// Command caddy is Caddy with the ws_gateway module, for trying it from a
// checkout without xcaddy.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/wsgateway/caddy-ws-gateway"
)

func main() {
	caddycmd.Main()
}
