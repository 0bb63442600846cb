package log

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

const usage = "log [<sample>] { size <size>; redact <regexp> [<replacement>] }"

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	log [<sample>] {
//		size   <size>
//		redact <regexp> [<replacement>]
//	}
//
// The sample is a part such as 0.01 or 1%, the replacement is REDACTED unless given, and
// redact may be repeated.
func (l *Log) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	d.Next()
	args := d.RemainingArgs()
	if len(args) > 1 {
		return d.Errf("too many arguments: %s", usage)
	}
	if len(args) == 1 {
		if l.Sample, err = parseSample(d, args[0]); err != nil {
			return err
		}
	}
	for d.NextBlock(0) {
		switch d.Val() {
		case "size":
			err = l.unmarshalSize(d)
		case "redact":
			err = l.unmarshalRedact(d)
		default:
			err = d.Errf("unknown word %q in log: allowed are redact, size", d.Val())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// parseSample reads a part of 1, or a percentage.
func parseSample(d *caddyfile.Dispenser, arg string) (float64, error) {
	number, percent := strings.CutSuffix(arg, "%")
	sample, err := strconv.ParseFloat(number, 64)
	if percent {
		sample /= 100
	}
	if err != nil || !(sample > 0 && sample <= 1) {
		return 0, d.Errf("sample: %q is not a part of the messages: write one such as 0.01 or 1%%, more than 0 and at most 1", arg)
	}
	return sample, nil
}

func (l *Log) unmarshalSize(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	switch {
	case l.Size != nil:
		return d.Err("size is already set: it may stand once")
	case len(args) == 0:
		return d.Err("an argument is missing: size <size>")
	case len(args) > 1:
		return d.Err("too many arguments: size <size>")
	}
	size, err := humanize.ParseBytes(args[0])
	if err != nil || size > maxSize {
		return d.Errf("size: %q is not a size from 0 to 1MiB: write one such as 512, 4KiB or 0", args[0])
	}
	l.Size = new(int64(size))
	return nil
}

func (l *Log) unmarshalRedact(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	switch {
	case len(args) == 0:
		return d.Err("an argument is missing: redact <regexp> [<replacement>]")
	case len(args) > 2:
		return d.Err("too many arguments: redact <regexp> [<replacement>]; what has blanks needs quotes")
	}
	redaction := &Redaction{Pattern: args[0]}
	if len(args) == 2 {
		redaction.Replacement = &args[1]
	}
	if err := redaction.compile(); err != nil {
		return d.Errf("redact: %w", err)
	}
	l.Redact = append(l.Redact, redaction)
	return nil
}
