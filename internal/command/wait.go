package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
)

// waitWithoutPeriod is how long a drain is waited for whose period is not known.
const waitWithoutPeriod = 2 * time.Minute

// drainWait waits until nothing is live on what is drained.
type drainWait struct {
	began         time.Time // when the drain was asked for
	poll, timeout time.Duration
	progress      io.Writer // shows it if it is a terminal
	goesOn        string    // what is said of what goes on when nobody waits any more
	live          int       // as it was last

	// look finds how many connections are live, and what has undone the drain, if
	// anything has.
	look func(context.Context) (live int, undone string, err error)
}

func (w *drainWait) run(ctx context.Context) error {
	interrupted, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	timed, cancel := context.WithDeadline(interrupted, w.began.Add(w.timeout))
	defer cancel()
	ticker := time.NewTicker(w.poll)
	defer ticker.Stop()
	defer w.show("")
	for missed := false; ; {
		live, undone, err := w.look(timed)
		switch left := counted(w.live, "connection"); {
		case interrupted.Err() != nil:
			return commandFailure(exitInterrupted, "interrupted with %s left: %s", left, w.goesOn)
		case timed.Err() != nil && err != nil:
			return commandFailure(exitRefused, "%s left after %s: %s", left, w.timeout, w.goesOn)
		case err != nil && exitStatusOf(err) != exitUnreachable:
			return err
		case err != nil && missed: // once may be a reload that moves the endpoint
			return commandFailure(exitUnreachable, "the admin endpoint is gone, with %s left when it last answered: %w", left, err)
		case err == nil:
			w.live = live
		}
		missed = err != nil
		switch {
		case missed:
		case live == 0:
			return nil
		case undone != "":
			return commandFailure(exitRefused, "%s, with %s left", undone, counted(live, "connection"))
		}
		w.show(counted(w.live, "connection") + " left")
		select {
		case <-ticker.C:
		case <-timed.Done():
		}
	}
}

// show writes a line over the one before, if there is a terminal.
func (w *drainWait) show(line string) {
	if width := terminalWidth(w.progress); width > 0 {
		fmt.Fprintf(w.progress, "\r%-*.*s\r%[3]s", width-1, width-1, line)
	}
}
