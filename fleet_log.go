package wsgateway

import (
	"slices"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// latestLog writes to a logger that may be another one at each line: what outlives
// configurations writes where the newest of them has its log.
type latestLog struct {
	latest *atomic.Pointer[zap.Logger]
	fields []zapcore.Field
}

// logTo returns a logger that writes to the latest one.
func logTo(latest *atomic.Pointer[zap.Logger], name string) *zap.Logger {
	return zap.New(latestLog{latest: latest}).Named(name)
}

func (l latestLog) core() zapcore.Core {
	if logger := l.latest.Load(); logger != nil {
		return logger.Core()
	}
	return zapcore.NewNopCore()
}

// Enabled implements zapcore.Core.
func (l latestLog) Enabled(level zapcore.Level) bool { return l.core().Enabled(level) }

// With implements zapcore.Core.
func (l latestLog) With(fields []zapcore.Field) zapcore.Core {
	return latestLog{l.latest, slices.Concat(l.fields, fields)}
}

// Check implements zapcore.Core.
func (l latestLog) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if l.core().Check(entry, nil) == nil {
		return checked
	}
	return checked.AddCore(entry, l)
}

// Write implements zapcore.Core.
func (l latestLog) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	l.core().Check(entry, nil).Write(slices.Concat(l.fields, fields)...)
	return nil
}

// Sync implements zapcore.Core.
func (l latestLog) Sync() error { return l.core().Sync() }

// Interface guards
var _ zapcore.Core = latestLog{}
