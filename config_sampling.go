package wsgateway

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// LogSampling leaves out log lines of a gateway when there are many of them. The lines of
// each kind count by themselves: those of connections in the whole gateway, those of
// refusals in each handler. Metrics and the admin API know of every connection and
// refusal, whether it has a line or not.
type LogSampling struct {
	// For the lines `opened`. Default: every line is written.
	Opened *Sampling `json:"opened,omitempty"`

	// For the lines `closed`. Default: every line is written.
	Closed *Sampling `json:"closed,omitempty"`

	// For the lines `refused`. Default: every line is written.
	Refused *Sampling `json:"refused,omitempty"`
}

// Sampling is how many lines are written: in each interval the first ones, and then one
// of so many.
type Sampling struct {
	// The time over which lines are counted. Default: 1s.
	Interval caddy.Duration `json:"interval,omitempty"`

	// How many lines are written at the beginning of each interval; 0 for none.
	// Default: 100.
	First *int `json:"first,omitempty"`

	// Of how many further lines one is written in the interval: 1 for all of them, 0
	// for none. Default: 100.
	Thereafter *int `json:"thereafter,omitempty"`
}

// As in Caddy's own option sampling.
const (
	defaultSamplingInterval = time.Second
	defaultSamplingCount    = 100
)

func (s *Sampling) interval() time.Duration { return orDefault(s.Interval, defaultSamplingInterval) }
func (s *Sampling) first() int              { return countOr(s.First, defaultSamplingCount) }
func (s *Sampling) thereafter() int         { return countOr(s.Thereafter, defaultSamplingCount) }

func countOr(n *int, otherwise int) int {
	if n == nil {
		return otherwise
	}
	return *n
}

func (l *LogSampling) validate() error {
	if l == nil {
		return nil
	}
	return errors.Join(l.Opened.validate("opened"), l.Closed.validate("closed"), l.Refused.validate("refused"))
}

// validate checks the sampling of the lines with this message.
func (s *Sampling) validate(message string) error {
	switch {
	case s == nil:
		return nil
	case s.Interval < 0:
		return fmt.Errorf("log_sampling: %s: an interval of %s is negative: give a time such as 1s", message, time.Duration(s.Interval))
	case s.first() < 0:
		return fmt.Errorf("log_sampling: %s: a first of %d is negative: use 0 to write none of the first lines", message, s.first())
	case s.thereafter() < 0:
		return fmt.Errorf("log_sampling: %s: a thereafter of %d is negative: use 0 to write none of the further lines", message, s.thereafter())
	}
	return nil
}
