module github.com/wsgateway/caddy-ws-gateway/bench

go 1.26.0

require github.com/wsgateway/caddy-ws-gateway v0.0.0

replace github.com/wsgateway/caddy-ws-gateway => ../
