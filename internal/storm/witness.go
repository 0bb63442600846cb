package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// chatterEvery is how often a witness that is not quiet says something.
const chatterEvery = 40 * time.Millisecond

// witnesses are connections that stay open all the while.
type witnesses struct {
	stop func()
	all  sync.WaitGroup

	mu     sync.Mutex // guards what follows
	failed error
}

// placeWitnesses opens two by each way, of which one is quiet.
func (s *storm) placeWitnesses(ctx context.Context) (*witnesses, error) {
	ctx, cancel := context.WithCancel(ctx)
	w := &witnesses{stop: cancel}
	for _, carrier := range carriers {
		for _, route := range routes {
			for _, quiet := range []bool{false, true} {
				p := plan{
					ID: "w-" + carrier + "-" + route, carrier: carrier, route: route,
					script: script{Does: accepts, Cut: never, Lasts: true},
				}
				if quiet {
					p.ID += "-quiet"
				}
				if err := s.placeWitness(ctx, w, p, quiet); err != nil {
					cancel()
					return nil, fmt.Errorf("%s: %w", &p, err)
				}
			}
		}
	}
	return w, nil
}

func (s *storm) placeWitness(ctx context.Context, w *witnesses, p plan, quiet bool) error {
	d, err := s.open(p.carrier)
	if err != nil {
		return err
	}
	l, err := d.knock(p.target(), never, nil)
	if err != nil {
		return err
	}
	if status, err := l.answer(never); err != nil || status != 101 && status != 200 {
		return fmt.Errorf("answered with %d, %w", status, err)
	}
	t := &talk{p: &p, line: l, r: s.random(0), br: bufio.NewReader(l)}
	if err := t.hear(greeting(p.ID), false); err != nil {
		return err
	}
	w.all.Go(func() {
		defer d.close()
		if err := t.testify(ctx, quiet); err != nil {
			w.fail(fmt.Errorf("witness %s: %w", &p, err))
		}
	})
	return nil
}

func (w *witnesses) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = errors.Join(w.failed, err)
}

// testify talks, or is quiet, until it is dismissed.
func (t *talk) testify(ctx context.Context, quiet bool) error {
	defer t.line.leave(byReset)
	tick := time.NewTicker(chatterEvery)
	defer tick.Stop()
	began := time.Now()
	say := func() error {
		tooLong := time.AfterFunc(clientPatience, func() { t.line.leave(byReset) })
		defer tooLong.Stop()
		m := message(t.p, 0, t.r)
		if _, err := t.line.Write(m.bytes(t.r.Uint32() | 1)); err != nil {
			return fmt.Errorf("after %s: %w", time.Since(began), err)
		}
		if err := t.hear(m, false); err != nil {
			return fmt.Errorf("after %s: %w", time.Since(began), err)
		}
		return nil
	}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			if quiet {
				continue
			}
			if err := say(); err != nil {
				return err
			}
		}
	}
	if err := say(); err != nil { // nothing else has come meanwhile, or it is read now
		return err
	}
	if _, err := t.line.Write(closing(1000, "").bytes(t.r.Uint32() | 1)); err != nil {
		return err
	}
	return t.hearClose(1000, "")
}

// dismiss ends the testimony.
func (w *witnesses) dismiss() error {
	w.stop()
	w.all.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}
