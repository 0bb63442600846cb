package wsgateway

import (
	"fmt"
	"os"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// A panic within a request is net/http's to recover. Whatever runs beside
// requests has to be contained by who starts it: a goroutine, a timer, what others
// call at an exit or from goroutines of their own.

var panicsTotal = prometheus.NewCounter(prometheus.CounterOpts{
	Namespace: "caddy",
	Subsystem: "ws_gateway",
	Name:      "panics_total",
	Help:      "Panics that were contained: each is a fault of the gateway, or of a module it calls, and has a line in the log.",
})

func init() {
	panics.Handle(func(p *panics.Panic) { reportPanic(nil, p) })
}

// contain keeps a panic in what defers it from the process. Without a logger it
// is Caddy's own that is told.
func contain(logger *zap.Logger, fields ...zap.Field) {
	if value := recover(); value != nil {
		reportPanic(logger, panics.Caught(value), fields...)
	}
}

// containInto makes a panic in what defers it the error that this returns.
func containInto(err *error, logger *zap.Logger, fields ...zap.Field) {
	if value := recover(); value != nil {
		*err = panics.ErrPanicked
		reportPanic(logger, panics.Caught(value), fields...)
	}
}

func reportPanic(logger *zap.Logger, p *panics.Panic, fields ...zap.Field) {
	panicsTotal.Inc()
	defer func() {
		if recover() != nil { // it is the log that panics
			_, _ = fmt.Fprintf(os.Stderr, "ws_gateway: panic: %s\n%s", p.What, p.Stack)
		}
	}()
	orCaddys(logger).Error("panic", append(fields, zap.String("panic", p.What), zap.String("stack", p.Stack))...)
}

// orCaddys is the logger, or Caddy's own where there is none.
func orCaddys(logger *zap.Logger) *zap.Logger {
	if logger == nil {
		return caddy.Log().Named(moduleID)
	}
	return logger
}

// contained does one round of what goes on beside requests: a panic in it does not
// keep the next from coming.
func contained(logger *zap.Logger, gateway string, round func()) {
	defer contain(logger, zap.String("gateway", gateway))
	round()
}
