package wsgateway

import (
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// wrap has the logger leave out lines. It returns the logger itself where none are left
// out.
func (l *LogSampling) wrap(logger *zap.Logger) *zap.Logger {
	if l == nil {
		return logger
	}
	samplers := make(map[string]*sampler)
	for message, s := range map[string]*Sampling{msgOpened: l.Opened, msgClosed: l.Closed, msgRefused: l.Refused} {
		if s != nil {
			samplers[message] = &sampler{interval: s.interval(), first: s.first(), thereafter: s.thereafter()}
		}
	}
	return logger.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core { return sampledCore{core, samplers} }))
}

// sampledCore leaves out lines at level INFO, by their message.
type sampledCore struct {
	zapcore.Core
	samplers map[string]*sampler
}

// With implements zapcore.Core.
func (c sampledCore) With(fields []zapcore.Field) zapcore.Core {
	return sampledCore{c.Core.With(fields), c.samplers}
}

// Check implements zapcore.Core.
func (c sampledCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if entry.Level == zapcore.InfoLevel && c.Enabled(entry.Level) {
		if s := c.samplers[entry.Message]; s != nil && !s.takes(entry.Time) {
			return checked
		}
	}
	return c.Core.Check(entry, checked)
}

// sampler takes the first lines of each interval, and then one of so many. Intervals begin
// with a line, and not by the clock.
type sampler struct {
	interval          time.Duration
	first, thereafter int

	mu    sync.Mutex // guards what follows
	began time.Time  // the interval
	lines int        // in the interval so far
}

// takes reports whether a line is to be written.
func (s *sampler) takes(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if since := now.Sub(s.began); since < 0 || since >= s.interval {
		s.began, s.lines = now, 0
	}
	s.lines++
	further := s.lines - s.first
	return further <= 0 || s.thereafter > 0 && further%s.thereafter == 0
}

// Interface guards
var _ zapcore.Core = sampledCore{}
