package wsgateway

import (
	"net/http"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
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
	openedLine live.Conn
	closedLine struct {
		c       *live.Conn
		outcome *relay.Outcome
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
	e.AddString("upstream", l.Upstream)
	e.AddString("subprotocol", l.Subprotocol)
	return nil
}

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (l closedLine) MarshalLogObject(e zapcore.ObjectEncoder) error {
	out := l.outcome
	err := (*openedLine)(l.c).MarshalLogObject(e)
	e.AddString("by", out.By.String())
	e.AddInt("code", out.Code)
	e.AddString("reason", out.Reason)
	e.AddDuration("duration", time.Since(l.c.OpenedAt))
	e.AddUint64("messages_from_client", out.FromClient.Messages)
	e.AddUint64("messages_from_upstream", out.FromUpstream.Messages)
	e.AddUint64("bytes_from_client", out.FromClient.Bytes)
	e.AddUint64("bytes_from_upstream", out.FromUpstream.Bytes)
	return err
}

// reportOpened and the others take Caddy's own logger where there is none.
func reportOpened(logger *zap.Logger, c *live.Conn) {
	if entry := orCaddys(logger).Check(zap.InfoLevel, "opened"); entry != nil {
		entry.Write(zap.Inline((*openedLine)(c)))
	}
}

func reportClosed(logger *zap.Logger, c *live.Conn, out relay.Outcome) {
	if entry := orCaddys(logger).Check(zap.InfoLevel, "closed"); entry != nil {
		entry.Write(zap.Inline(closedLine{c, &out}))
	}
}

func reportPanicOf(logger *zap.Logger, c *live.Conn, p *panics.Panic) {
	reportPanic(logger, p, zap.Inline((*openedLine)(c)))
}

// Interface guards
var (
	_ zapcore.ObjectMarshaler = (*openedLine)(nil)
	_ zapcore.ObjectMarshaler = closedLine{}
)
