// Package log is a handler of messages that writes them to the log.
package log

import (
	"fmt"
	"math/rand/v2"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/messages"
	"github.com/wsgateway/caddy-ws-gateway/messages/replace"
)

func init() { caddy.RegisterModule(Log{}) }

// Log writes messages to the log as they are where it stands among the handlers, and
// passes them. Lines are of level INFO, logger http.ws_gateway.messages.log, message
// "message", with the fields gateway, connection, user_id (where known), direction, type,
// size (bytes), payload and truncated (if it is). The payload of a binary message is in
// base64.
type Log struct {
	// Which part of the messages is logged, at random: from more than 0 to 1, which is
	// all. Default: 1.
	Sample float64 `json:"sample,omitempty"`

	// How many bytes of a payload are logged at most, up to 1 MiB. 0 logs none. Default:
	// 1024.
	Size *int64 `json:"size,omitempty"`

	// What is replaced in payloads before they are logged, one after the other. Only what
	// is logged and 16 KiB behind it are looked at: a secret which begins in what is
	// logged has to end there.
	Redact []*Redaction `json:"redact,omitempty"`

	logger *zap.Logger
}

// Redaction is what is replaced in payloads before they are logged.
type Redaction struct {
	// A regular expression (RE2, https://golang.org/s/re2syntax). One that can match the
	// empty string is an error.
	Pattern string `json:"pattern"`

	// What replaces each match, as the replacement of the handler replace. An empty text
	// deletes. Default: `REDACTED`.
	Replacement *string `json:"replacement,omitempty"`

	rule *replace.Rule
}

// compile prepares the redaction, and returns what is wrong with it.
func (r *Redaction) compile() error {
	r.rule = &replace.Rule{Pattern: r.Pattern, Replacement: redacted}
	if r.Replacement != nil {
		r.rule.Replacement = *r.Replacement
	}
	return r.rule.Compile()
}

// Bounds on what is logged and looked at.
const (
	defaultSize = 1 << 10
	maxSize     = 1 << 20
	lookBehind  = 16 << 10
)

// redacted is what stands in place of secrets if nothing else is said.
const redacted = "REDACTED"

// CaddyModule implements caddy.Module.
func (Log) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.ws_gateway.messages.log",
		New: func() caddy.Module { return new(Log) },
	}
}

// Provision sets defaults and compiles the rules.
func (l *Log) Provision(ctx caddy.Context) error {
	l.logger = ctx.Logger()
	return l.prepare()
}

// prepare is Provision without a context.
func (l *Log) prepare() error {
	if l.Sample == 0 {
		l.Sample = 1
	}
	if l.Size == nil {
		l.Size = new(int64(defaultSize))
	}
	for i, redaction := range l.Redact {
		if redaction == nil {
			return fmt.Errorf("redact: rule %d is null: give it a pattern", i+1)
		}
		if err := redaction.compile(); err != nil {
			return fmt.Errorf("redact: rule %d: %w", i+1, err)
		}
	}
	return nil
}

// Validate implements caddy.Validator.
func (l *Log) Validate() error {
	if !(l.Sample > 0 && l.Sample <= 1) { // as well for what is no number
		return fmt.Errorf("sample: %v must be more than 0 and at most 1", l.Sample)
	}
	if *l.Size < 0 || *l.Size > maxSize {
		return fmt.Errorf("size: %d must be from 0 to %d bytes", *l.Size, maxSize)
	}
	return nil
}

// HandleMessage logs m if chance wants it.
func (l *Log) HandleMessage(m *messages.Message) (messages.Verdict, error) {
	if l.Sample < 1 && rand.Float64() >= l.Sample { //nolint:gosec // which are logged is no secret
		return messages.Pass, nil
	}
	if line := l.logger.Check(zap.InfoLevel, "message"); line != nil {
		line.Write(l.fields(m)...)
	}
	return messages.Pass, nil
}

func (l *Log) fields(m *messages.Message) []zap.Field {
	fields := make([]zap.Field, 0, 8)
	fields = append(fields, zap.String("gateway", m.Conn.Gateway), zap.String("connection", m.Conn.ID))
	if m.Conn.UserID != "" {
		fields = append(fields, zap.String("user_id", m.Conn.UserID))
	}
	fields = append(fields, zap.Stringer("direction", m.Direction), zap.Stringer("type", m.Type), zap.Int("size", m.Size()))
	if *l.Size == 0 {
		return fields
	}
	payload, truncated := l.payload(m)
	if m.Type == messages.Binary {
		fields = append(fields, zap.Binary("payload", payload))
	} else {
		fields = append(fields, zap.ByteString("payload", payload))
	}
	if truncated {
		fields = append(fields, zap.Bool("truncated", true))
	}
	return fields
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*Log)(nil)
	_ caddy.Validator       = (*Log)(nil)
	_ caddyfile.Unmarshaler = (*Log)(nil)
	_ messages.Handler      = (*Log)(nil)
)
