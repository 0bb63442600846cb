package live

import (
	"sync"

	"go.uber.org/zap"
)

// tlsRelay knows how connections with TLS are relayed: by the event loop where
// there is one, or by goroutines where trouble returns an error.
type tlsRelay struct {
	trouble func() error
	told    sync.Once
}

// byGoroutines returns the word for the admin API; empty where there is no trouble.
func (t *tlsRelay) byGoroutines() string {
	if t.trouble() == nil {
		return ""
	}
	return "goroutines"
}

// tell warns of trouble, once.
func (t *tlsRelay) tell(logger *zap.Logger) {
	err := t.trouble()
	if err == nil {
		return
	}
	t.told.Do(func() {
		logger.Warn("TLS is relayed by goroutines and not by the event loop: connections take more memory and CPU, "+
			"and those of clients keep the configuration that they were opened under; "+
			"build with a Go release that the gateway was tested with",
			zap.Error(err))
	})
}

// WarnOfTLS warns, once, where TLS is not relayed as it should be.
func (s *Set) WarnOfTLS(logger *zap.Logger) { s.tls.tell(logger) }
