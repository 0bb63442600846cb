package wsgateway

import "github.com/wsgateway/caddy-ws-gateway/internal/live"

const moduleID = "http.handlers.ws_gateway"

// process is what outlives a configuration: live connections belong to it.
var process = live.NewSet(live.Reports{Closed: reportClosed, Panicked: reportPanicOf})
