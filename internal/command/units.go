package command

import (
	"fmt"
	"math"
	"time"

	"github.com/dustin/go-humanize"
)

// durationText is a time span for people, in at most two units.
func durationText(seconds float64) string {
	const minute, hour, day = 60, 60 * 60, 24 * 60 * 60
	whole := int64(seconds)
	switch {
	case seconds <= 0:
		return "0s"
	case seconds < 0.010:
		return fmt.Sprintf("%.1fms", math.Floor(seconds*1e4)/10)
	case seconds < 1:
		return fmt.Sprintf("%dms", int64(seconds*1e3))
	case seconds < minute:
		return fmt.Sprintf("%ds", whole)
	case seconds < hour:
		return fmt.Sprintf("%dm%02ds", whole/minute, whole%minute)
	case seconds < day:
		return fmt.Sprintf("%dh%02dm", whole/hour, whole%hour/minute)
	}
	return fmt.Sprintf("%dd%02dh", whole/day, whole%day/hour)
}

// optionalDuration is durationText of what may be missing.
func optionalDuration(seconds *float64) string {
	if seconds == nil {
		return ""
	}
	return durationText(*seconds)
}

func bytesText(n float64) string {
	return humanize.Bytes(uint64(math.Round(max(n, 0))))
}

// perSecond is a number of something that happens, such as 0.4 or 12,345.
func perSecond(rate float64) string {
	if rate > 0 && rate < 10 {
		return fmt.Sprintf("%.1f/s", rate)
	}
	return humanize.Comma(int64(math.Round(rate))) + "/s"
}

// secondOf is a time without the fraction of its second, or what was written where that
// is no time.
func secondOf(written string) string {
	at, err := time.Parse(time.RFC3339, written)
	if err != nil {
		return written
	}
	return at.Format(time.RFC3339)
}
