package wsgateway

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

func TestSamplerTakesTheFirstAndThenOneOfSoMany(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		first, thereafter int
		want              []int // of the lines 1 to 10 of an interval
	}{
		"the first, then each third": {2, 3, []int{1, 2, 5, 8}},
		"the first alone":            {2, 0, []int{1, 2}},
		"each third from the start":  {0, 3, []int{3, 6, 9}},
		"all":                        {0, 1, []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
		"none":                       {0, 0, nil},
		"more than there are":        {100, 100, []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
	} {
		s := &sampler{interval: time.Second, first: row.first, thereafter: row.thereafter}
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for _, interval := range []string{"the first interval", "the next one", "one after the clock was set back"} {
			var taken []int
			for i := range 10 {
				if s.takes(now.Add(time.Duration(i) * 99 * time.Millisecond)) {
					taken = append(taken, i+1)
				}
			}
			if !slices.Equal(taken, row.want) {
				t.Errorf("%s: took %v of %s, want %v", name, taken, interval, row.want)
			}
			if now = now.Add(time.Second); interval == "the next one" {
				now = now.Add(-time.Hour)
			}
		}
	}
}

func TestSamplerIsExactAmongGoroutines(t *testing.T) {
	t.Parallel()
	s := &sampler{interval: time.Hour, first: 10, thereafter: 100}
	now := time.Now()
	var taken atomic.Int64
	var done sync.WaitGroup
	for range 8 {
		done.Go(func() {
			for range 1000 {
				if s.takes(now) {
					taken.Add(1)
				}
			}
		})
	}
	done.Wait()
	if got, want := taken.Load(), int64(10+(8000-10)/100); got != want {
		t.Errorf("took %d lines, want %d", got, want)
	}
}

// TestLinesAreLeftOutByTheirMessage and what has no sampling is written always: lines of
// another kind, lines at another level, and everything of a logger without sampling.
func TestLinesAreLeftOutByTheirMessage(t *testing.T) {
	t.Parallel()
	core, lines := observer.New(zap.InfoLevel)
	one := 1
	none := 0
	sampling := &LogSampling{Opened: &Sampling{First: &one, Thereafter: &none}, Closed: &Sampling{First: &none, Thereafter: &none}}
	logger := sampling.wrap(zap.New(core)).With(zap.String("with", "more")) // as Caddy's loggers may be
	c := process.NewConn(live.Details{ID: "x", Gateway: "sampled lines"}, "", live.Authority{})
	for range 5 {
		reportOpened(logger, c)
		reportClosed(logger, c, relay.Outcome{By: relay.Client, Code: 1000})
		logger.Info(msgRefused)
		logger.Error(msgClosed)
		logger.Debug(msgRefused)
	}
	for message, want := range map[string]int{msgOpened: 1, msgClosed: 5, msgRefused: 5} {
		if got := lines.FilterMessage(message).FilterFieldKey("with").Len(); got != want {
			t.Errorf("%d lines %s, want %d", got, message, want)
		}
	}
	if got := seriesOf(t, closesTotal, "sampled lines")["client 1000"]; got != 5 {
		t.Errorf("%v closes are counted, want those without a line, too", got)
	}
	if plain := zap.New(core); (*LogSampling)(nil).wrap(plain) != plain {
		t.Error("a logger without sampling is another one")
	}
}

func TestSamplingInJSONIsHeldToWhatMakesSense(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		`{"log_sampling":{"opened":{"interval":"-1s"}}}`:     "log_sampling: opened: an interval of -1s is negative",
		`{"log_sampling":{"closed":{"first":-1}}}`:           "log_sampling: closed: a first of -1 is negative",
		`{"log_sampling":{"refused":{"thereafter":-5}}}`:     "log_sampling: refused: a thereafter of -5 is negative",
		`{"log_sampling":{"refused":{"every":5}}}`:           `"every"`,
		`{"log_sampling":{"panic":{}}}`:                      `"panic"`,
		`{"log_sampling":{"opened":{"first":1.5}}}`:          "first",
		`{"log_sampling":{"opened":{"thereafter":"a few"}}}`: "thereafter",
	} {
		if _, err := readHandler(t, config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s in it", config, err, want)
		}
	}
	h, err := readHandler(t, `{"log_sampling":{"opened":{},"closed":{"interval":"1m","first":0,"thereafter":0}}}`)
	if err != nil {
		t.Fatal(err)
	}
	o, c := h.LogSampling.Opened, h.LogSampling.Closed
	if o.interval() != time.Second || o.first() != 100 || o.thereafter() != 100 {
		t.Errorf("the defaults are %v, %d and %d", o.interval(), o.first(), o.thereafter())
	}
	if c.interval() != time.Minute || c.first() != 0 || c.thereafter() != 0 {
		t.Errorf("read as %v, %d and %d", c.interval(), c.first(), c.thereafter())
	}
}
