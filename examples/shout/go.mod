module example.com/shout

go 1.26.0

require (
	github.com/caddyserver/caddy/v2 v2.11.9
	github.com/wsgateway/caddy-ws-gateway v0.1.0
)
