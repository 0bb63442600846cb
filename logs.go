package wsgateway

import (
	"net/http"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

func (h *Handler) logRefused(r *http.Request, rf *refusal) {
	if c := h.logger.Check(zap.InfoLevel, "refused"); c != nil {
		fields := commonFields(h.name, clientIP(r), protoOf(r), userOf(r))
		c.Write(append(fields,
			zap.Int("status", rf.status),
			zap.String("result", rf.result),
			zap.String("reason", rf.reason))...)
	}
}

// commonFields are those of every line.
func commonFields(gateway, remoteIP, proto, userID string) []zap.Field {
	fields := make([]zap.Field, 0, 16)
	fields = append(fields,
		zap.String("gateway", gateway),
		zap.String("remote_ip", remoteIP),
		zap.String("proto", proto))
	if userID != "" {
		fields = append(fields, zap.String("user_id", userID))
	}
	return fields
}

// openedLine and closedLine write themselves into a line, which spares a slice
// of fields.
type (
	openedLine connection
	closedLine struct {
		c       *connection
		outcome *relay.Outcome
	}
)

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (l *openedLine) MarshalLogObject(e zapcore.ObjectEncoder) error {
	e.AddString("gateway", l.gateway)
	e.AddString("remote_ip", l.remoteIP)
	e.AddString("proto", l.proto)
	if l.userID != "" {
		e.AddString("user_id", l.userID)
	}
	e.AddString("connection", l.id)
	e.AddString("upstream", l.upstream)
	e.AddString("subprotocol", l.subprotocol)
	return nil
}

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (l closedLine) MarshalLogObject(e zapcore.ObjectEncoder) error {
	out := l.outcome
	err := (*openedLine)(l.c).MarshalLogObject(e)
	e.AddString("by", out.By.String())
	e.AddInt("code", out.Code)
	e.AddString("reason", out.Reason)
	e.AddDuration("duration", time.Since(l.c.openedAt))
	e.AddUint64("messages_from_client", out.FromClient.Messages)
	e.AddUint64("messages_from_upstream", out.FromUpstream.Messages)
	e.AddUint64("bytes_from_client", out.FromClient.Bytes)
	e.AddUint64("bytes_from_upstream", out.FromUpstream.Bytes)
	return err
}

func (c *connection) reportOpened() {
	if entry := process.reporter(c.gateway).Check(zap.InfoLevel, "opened"); entry != nil {
		entry.Write(zap.Inline((*openedLine)(c)))
	}
}

func (c *connection) reportClosed(out relay.Outcome) {
	if entry := process.reporter(c.gateway).Check(zap.InfoLevel, "closed"); entry != nil {
		entry.Write(zap.Inline(closedLine{c, &out}))
	}
}

// contain keeps a panic in what defers it, and is done for the connection, from
// the process.
func (c *connection) contain() {
	if value := recover(); value != nil {
		c.reportPanic(panics.Caught(value))
	}
}

func (c *connection) reportPanic(p *panics.Panic) {
	reportPanic(process.reporter(c.gateway), p, zap.Inline((*openedLine)(c)))
}

// Interface guards
var (
	_ zapcore.ObjectMarshaler = (*openedLine)(nil)
	_ zapcore.ObjectMarshaler = closedLine{}
)
