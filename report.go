package wsgateway

import (
	"time"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

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

func (c *connection) fields() []zap.Field {
	return append(commonFields(c.gateway, c.remoteIP, c.proto, c.userID),
		zap.String("connection", c.id),
		zap.String("upstream", c.upstream),
		zap.String("subprotocol", c.subprotocol))
}

func (c *connection) reportOpened() {
	if entry := process.reporter(c.gateway).Check(zap.InfoLevel, "opened"); entry != nil {
		entry.Write(c.fields()...)
	}
}

func (c *connection) reportClosed(out relay.Outcome) {
	entry := process.reporter(c.gateway).Check(zap.InfoLevel, "closed")
	if entry == nil {
		return
	}
	entry.Write(append(c.fields(),
		zap.Stringer("by", out.By),
		zap.Int("code", out.Code),
		zap.String("reason", out.Reason),
		zap.Duration("duration", time.Since(c.openedAt)),
		zap.Uint64("messages_from_client", out.FromClient.Messages),
		zap.Uint64("messages_from_upstream", out.FromUpstream.Messages),
		zap.Uint64("bytes_from_client", out.FromClient.Bytes),
		zap.Uint64("bytes_from_upstream", out.FromUpstream.Bytes))...)
}
