package wsgateway

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/assembly"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// messageChains are the handlers of a gateway's messages.
type messageChains struct {
	chains       [2]assembly.Chain // by direction
	placeholders []string          // that handlers want to know
	size         int               // the most bytes of a message; 0 for the default
	reporter     messageReporter
}

// loadMessages loads the handlers of the blocks; nil where there are no blocks.
func loadMessages(ctx caddy.Context, blocks []*MessageBlock, size int64, reporter messageReporter) (*messageChains, error) {
	if len(blocks) == 0 {
		return nil, nil
	}
	m := &messageChains{size: int(size), reporter: reporter}
	for _, block := range blocks {
		if err := block.validate(); err != nil {
			return nil, err
		}
		if err := m.load(ctx, block); err != nil {
			return nil, fmt.Errorf("messages: %w", err)
		}
	}
	slices.Sort(m.placeholders)
	m.placeholders = slices.Compact(m.placeholders)
	return m, nil
}

func (m *messageChains) load(ctx caddy.Context, block *MessageBlock) error {
	modules, err := ctx.LoadModule(block, "HandlersRaw")
	if err != nil {
		return err
	}
	step := assembly.Step{Budget: block.budget()}
	client, upstream := block.Direction != fromUpstream, block.Direction != fromClient
	for _, module := range modules.([]any) { //nolint:forcetypeassert // what LoadModule makes of a []json.RawMessage
		handler, ok := module.(messages.Handler)
		if !ok {
			return fmt.Errorf("%T is no message handler: it must have the method HandleMessage", module)
		}
		name := module.(caddy.Module).CaddyModule().ID.Name() //nolint:forcetypeassert // LoadModule loads nothing else
		if directed, ok := module.(messages.Directed); ok {
			if err := directed.SetDirections(client, upstream); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		if user, ok := module.(messages.PlaceholderUser); ok {
			m.placeholders = append(m.placeholders, user.Placeholders()...)
		}
		step.Handlers = append(step.Handlers, &assembly.Handler{Handler: handler, Name: name})
	}
	if len(step.Handlers) == 0 {
		return nil // nothing is to be done for a message
	}
	if client {
		m.chains[messages.FromClient] = append(m.chains[messages.FromClient], step)
	}
	if upstream {
		m.chains[messages.FromUpstream] = append(m.chains[messages.FromUpstream], step)
	}
	return nil
}

// snapshot returns what the placeholders are that handlers want to know.
func (m *messageChains) snapshot(r *http.Request) map[string]string {
	if len(m.placeholders) == 0 {
		return nil
	}
	repl := replacerOf(r)
	values := make(map[string]string, len(m.placeholders))
	for _, name := range m.placeholders {
		if value, _ := repl.GetString(name); value != "" {
			values[name] = strings.Clone(value)
		}
	}
	return values
}

// messageReporter tells metrics and log what becomes of the messages of a gateway. It
// outlives configurations.
type messageReporter struct {
	gateway string
	live    *live.Set
}

// Decided implements assembly.Reporter.
func (m messageReporter) Decided(_ *messages.Connection, d messages.Direction, kind messages.Kind) {
	countVerdict(m.gateway, d.String(), verdictNames[kind])
}

// Failed implements assembly.Reporter.
func (m messageReporter) Failed(c *messages.Connection, d messages.Direction, handler string, err error) {
	countVerdict(m.gateway, d.String(), "failed")
	if logger := m.live.Reporter(m.gateway); logger != nil {
		logger.Error("message handler failed", append(messageFields(c, d, handler), zap.Error(err))...)
	}
}

// Panicked implements assembly.Reporter.
func (m messageReporter) Panicked(c *messages.Connection, d messages.Direction, handler string, p *panics.Panic) {
	countVerdict(m.gateway, d.String(), "panicked")
	reportPanic(m.live.Reporter(m.gateway), p, messageFields(c, d, handler)...)
}

func messageFields(c *messages.Connection, d messages.Direction, handler string) []zap.Field {
	fields := []zap.Field{zap.String("gateway", c.Gateway), zap.String("connection", c.ID), zap.String("direction", d.String())}
	if handler != "" {
		fields = append(fields, zap.String("handler", handler))
	}
	return fields
}

// verdictNames are the kinds of verdicts as the metric has them.
var verdictNames = map[messages.Kind]string{
	messages.KindDrop:  "dropped",
	messages.KindReply: "answered",
	messages.KindClose: "closed",
}
