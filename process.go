package wsgateway

import (
	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

// process is the live connections of the process, which outlive configurations. A
// handler is handed it when it is provisioned; Caddy calls the policies, the admin API
// and the hook at an exit without one.
var process = live.NewSet(live.Reports{Closed: reportClosed, Panicked: reportPanicOf}, caddy.Exiting)

// kept is what operators have said of the process, which outlives it.
var kept = newRecords(process)
