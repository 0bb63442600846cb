package command

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/terminal"
)

// topPatience is how long a look may take before it counts as failed.
const topPatience = 10 * time.Second

// topLoop lets keys, looks at the node and the size of the terminal change the view, one
// after the other.
type topLoop struct {
	endpoint *adminEndpoint
	screen   *terminal.Screen
	signals  <-chan os.Signal // that end it
	view     topView

	looks    chan topLooked
	done     chan topDone
	cancel   context.CancelFunc
	number   int  // of the look whose result is waited for
	acting   int  // how much is being done
	quitting bool // when nothing is being done any more
}

// topDone is what came of what was done.
type topDone struct {
	notice string
	err    error
}

// topLooked is what came of a look.
type topLooked struct {
	number int
	sample *topSample
	err    error
}

func newTopLoop(endpoint *adminEndpoint, screen *terminal.Screen, signals <-chan os.Signal, interval time.Duration, wanted topQuery, first *topSample) *topLoop {
	return &topLoop{
		endpoint: endpoint, screen: screen, signals: signals, view: topView{wanted: wanted, interval: interval, sample: first},
		looks: make(chan topLooked), done: make(chan topDone), cancel: func() {},
	}
}

// run goes on until it is quit, or the terminal is gone.
func (l *topLoop) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.NewTimer(l.view.interval)
	defer timer.Stop()
	for failed := error(nil); ; {
		width, height := l.screen.Size()
		if err := l.screen.Draw(l.view.lines(width, height, time.Now())); err != nil {
			return err
		}
		select {
		case key, open := <-l.screen.Keys():
			if !open {
				return commandFailure(exitInterrupted, "the terminal is gone")
			}
			switch l.view.press(key, height/2) {
			case topStay:
			case topQuit:
				if l.quitting = true; l.acting == 0 {
					return nil
				}
			case topInterrupted:
				return commandFailure(exitInterrupted, "interrupted")
			case topLook:
				l.look(ctx)
			case topDo:
				l.act(ctx, l.view.question)
			}
		case <-timer.C:
			l.look(ctx)
		case looked := <-l.looks:
			if looked.number == l.number {
				l.view.show(looked.sample, looked.err)
				timer.Reset(l.view.interval)
			}
		case done := <-l.done:
			if l.acting--; l.quitting {
				failed = errors.Join(failed, done.err)
			}
			if l.quitting && l.acting == 0 {
				return failed
			}
			l.view.notice = done.text()
			l.look(ctx)
		case <-l.screen.Resized():
		case <-l.signals:
			return commandFailure(exitInterrupted, "interrupted")
		}
	}
}

// look takes a sample beside the loop, instead of the one that is being taken.
func (l *topLoop) look(ctx context.Context) {
	l.cancel()
	ctx, l.cancel = context.WithCancel(ctx)
	l.number++
	number, wanted, endpoint, looks := l.number, l.view.wanted, l.endpoint, l.looks
	go func() {
		defer panics.Contain()
		timed, cancel := context.WithTimeout(ctx, topPatience)
		defer cancel()
		sample, err := sampleSafely(timed, endpoint, wanted)
		select {
		case looks <- topLooked{number, sample, err}:
		case <-ctx.Done():
		}
	}()
}

// sampleSafely is fetchSample with an error for a panic, so that the loop has an answer.
func sampleSafely(ctx context.Context, endpoint *adminEndpoint, wanted topQuery) (sample *topSample, err error) {
	defer panics.ContainInto(&err, nil)
	return fetchSample(ctx, endpoint, wanted)
}

// act does beside the loop what was asked about.
func (l *topLoop) act(ctx context.Context, question topQuestion) {
	l.acting++
	endpoint, done := l.endpoint, l.done
	go func() {
		defer panics.Contain()
		var came topDone
		came.notice, came.err = doSafely(ctx, endpoint, question)
		select {
		case done <- came:
		case <-ctx.Done():
		}
	}()
}

// doSafely makes an error of a panic.
func doSafely(ctx context.Context, endpoint *adminEndpoint, question topQuestion) (notice string, err error) {
	defer panics.ContainInto(&err, nil)
	return question.do(ctx, endpoint)
}

// text is what the screen says.
func (d topDone) text() string {
	if d.err != nil {
		return escaped(d.err.Error())
	}
	return d.notice
}
