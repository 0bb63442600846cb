package wsgateway

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

const moduleID = "http.handlers.ws_gateway"

// The messages of the lines that connections and handshakes have.
const (
	msgOpened  = "opened"
	msgClosed  = "closed"
	msgRefused = "refused"
)

// reportRefused logs that a request is not served. The gateway is empty where that was
// decided in front of one.
func reportRefused(logger *zap.Logger, gateway string, r *http.Request, rf *refusal) {
	entry := logger.Check(zap.InfoLevel, msgRefused)
	if entry == nil {
		return
	}
	fields := make([]zap.Field, 0, 8)
	if gateway != "" {
		fields = append(fields, zap.String("gateway", gateway))
	}
	fields = append(fields, zap.String("remote_ip", clientIP(r)), zap.String("proto", protoOf(r)))
	if userID := cmp.Or(rf.userID, userOf(r)); userID != "" {
		fields = append(fields, zap.String("user_id", userID))
	}
	fields = append(fields, zap.Int("status", rf.status), zap.String("result", rf.result), zap.String("reason", rf.reason))
	if rf.limit != "" {
		fields = append(fields, zap.String("limit", rf.limit))
	}
	entry.Write(fields...)
}

// openedLine and closedLine write themselves into a line, which spares a slice
// of fields.
type (
	openedLine live.Conn
	closedLine struct {
		c       *live.Conn
		outcome relay.Outcome
	}
)

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (l *openedLine) MarshalLogObject(e zapcore.ObjectEncoder) error {
	e.AddString("gateway", l.Gateway)
	e.AddString("remote_ip", l.RemoteIP)
	e.AddString("proto", l.Proto)
	if l.UserID != "" {
		e.AddString("user_id", l.UserID)
	}
	e.AddString("connection", l.ID)
	e.AddString("protocol", l.Protocol)
	e.AddString("upstream", l.Upstream)
	e.AddString("subprotocol", l.Subprotocol)
	return nil
}

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (l *closedLine) MarshalLogObject(e zapcore.ObjectEncoder) error {
	out := &l.outcome
	err := (*openedLine)(l.c).MarshalLogObject(e)
	e.AddString("by", out.By.String())
	if !l.c.IsStream() {
		e.AddInt("code", out.Code)
	}
	e.AddString("reason", out.Reason)
	e.AddDuration("duration", time.Since(l.c.OpenedAt))
	e.AddUint64("messages_from_client", out.FromClient.Messages)
	e.AddUint64("messages_from_upstream", out.FromUpstream.Messages)
	e.AddUint64("bytes_from_client", out.FromClient.Bytes)
	e.AddUint64("bytes_from_upstream", out.FromUpstream.Bytes)
	if out.Limit != "" {
		e.AddString("limit", out.Limit)
	}
	if due := l.c.EndedBy(out); due != "" {
		e.AddString("ends_by", due)
	}
	if out.RTT > 0 {
		e.AddDuration("ping_rtt", out.RTT)
	}
	return err
}

// reportOpened logs that a connection is open. As in the functions below, a nil logger
// stands for Caddy's own.
func reportOpened(logger *zap.Logger, c *live.Conn) {
	if entry := orCaddys(logger).Check(zap.InfoLevel, msgOpened); entry != nil {
		entry.Write(zap.Inline((*openedLine)(c)))
	}
}

func reportClosed(logger *zap.Logger, c *live.Conn, out relay.Outcome) {
	countClosed(c, &out)
	if entry := orCaddys(logger).Check(zap.InfoLevel, msgClosed); entry != nil {
		entry.Write(zap.Inline(&closedLine{c, out}))
	}
}

func reportPanicOf(logger *zap.Logger, c *live.Conn, p *panics.Panic) {
	reportPanic(logger, p, zap.Inline((*openedLine)(c)))
}

// A panic within a request is net/http's to recover. What runs beside requests has
// to be contained by the code that starts it: a goroutine, a timer, a hook of an
// exit.

func init() {
	panics.Handle(func(p *panics.Panic) { reportPanic(nil, p) })
}

// contain keeps a panic in the function that defers it from the process, and reports
// the panic to the logger, or to Caddy's own where there is none.
func contain(logger *zap.Logger, fields ...zap.Field) {
	if value := recover(); value != nil {
		reportPanic(logger, panics.Caught(value), fields...)
	}
}

// containInto makes a panic in the function that defers it the error that this
// function returns.
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

// contained runs one round of a loop beside requests: a panic in the round does not
// keep the next from coming.
func contained(logger *zap.Logger, gateway string, round func()) {
	defer contain(logger, zap.String("gateway", gateway))
	round()
}

// Interface guards
var (
	_ zapcore.ObjectMarshaler = (*openedLine)(nil)
	_ zapcore.ObjectMarshaler = (*closedLine)(nil)
)
