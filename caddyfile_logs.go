package wsgateway

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// logSamplingWords are the words of a log_sampling block, and samplingWords those of the
// blocks in it.
var (
	logSamplingWords = map[string]func(*LogSampling, *caddyfile.Dispenser) error{
		msgOpened: func(l *LogSampling, d *caddyfile.Dispenser) error { return unmarshalSampling(&l.Opened, d) },
		msgClosed: func(l *LogSampling, d *caddyfile.Dispenser) error { return unmarshalSampling(&l.Closed, d) },
		msgRefused: func(l *LogSampling, d *caddyfile.Dispenser) error {
			return unmarshalSampling(&l.Refused, d)
		},
	}
	samplingWords = map[string]func(*Sampling, *caddyfile.Dispenser) error{
		"interval":   (*Sampling).unmarshalInterval,
		"first":      (*Sampling).unmarshalFirst,
		"thereafter": (*Sampling).unmarshalThereafter,
	}
)

// unmarshalLogSampling parses a block with the words of logSamplingWords.
// docs/configuration.md has the grammar.
func (h *Handler) unmarshalLogSampling(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Err("log_sampling takes no arguments, only a block")
	}
	h.LogSampling = new(LogSampling)
	seen := make(map[string]bool)
	if err := parseWords(d, h.LogSampling, "log_sampling", logSamplingWords, seen); err != nil {
		return err
	}
	d.Reset()
	d.Next() // an error is about the block, not about its last line
	if len(seen) == 0 {
		return d.Errf("log_sampling is empty: allowed are %s", strings.Join(sortedKeys(logSamplingWords), ", "))
	}
	return nil
}

// unmarshalSampling parses a block with the words of samplingWords. A word alone stands
// for the defaults.
func unmarshalSampling(into **Sampling, d *caddyfile.Dispenser) error {
	message := d.Val()
	if d.NextArg() {
		return d.Errf("%s takes no arguments, only a block", message)
	}
	*into = new(Sampling)
	return parseWords(d, *into, message, samplingWords, make(map[string]bool))
}

// unmarshalInterval parses:
//
//	interval <duration>
func (s *Sampling) unmarshalInterval(d *caddyfile.Dispenser) (err error) {
	s.Interval, err = durationArg(d, "interval", 1)
	return err
}

// unmarshalFirst parses:
//
//	first <n>
func (s *Sampling) unmarshalFirst(d *caddyfile.Dispenser) (err error) {
	s.First, err = samplingCount(d, "first")
	return err
}

// unmarshalThereafter parses:
//
//	thereafter <n>
func (s *Sampling) unmarshalThereafter(d *caddyfile.Dispenser) (err error) {
	s.Thereafter, err = samplingCount(d, "thereafter")
	return err
}

// samplingCount reads the one argument of a word, a number that may be 0.
func samplingCount(d *caddyfile.Dispenser, word string) (*int, error) {
	args, err := lineArgs(d, word+" <n>", 1, 1)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseInt(args[0], 10, 32)
	if err != nil || n < 0 {
		return nil, d.Errf("%s must be a whole number, 0 or more, not %q%s", word, args[0], separated(args[0]))
	}
	count := int(n)
	return &count, nil
}
