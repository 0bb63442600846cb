package schema

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

func TestLargeMessagesWaitForASlot(t *testing.T) {
	t.Parallel()
	text := func(size int) string { return `"` + strings.Repeat("x", size-2) + `"` }
	s := provisioned(t, `{"type": "string"}`, nil)
	if s.checkers.slots != process {
		t.Error("the slots are not those of the process")
	}
	synctest.Test(t, func(t *testing.T) {
		s.checkers.slots = make(slots, 1)
		check := func(size int, within time.Duration) error {
			m := &messages.Message{Conn: new(messages.Connection)}
			var deadline time.Time
			if within != 0 {
				deadline = time.Now().Add(within)
			}
			m.Begin(messages.FromClient, messages.Text, []byte(text(size)), deadline)
			defer m.Finish()
			_, err := s.HandleMessage(m)
			return err
		}
		if err := check(large+1, time.Second); err != nil || len(s.checkers.slots) != 0 {
			t.Errorf("alone: %v, and %d slots are taken", err, len(s.checkers.slots))
		}
		if err := s.checkers.slots.take(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if err := check(large, time.Second); err != nil {
			t.Errorf("a small one: %v", err)
		}
		for _, within := range []time.Duration{-1, time.Second} {
			if err := check(large+1, within); !errors.Is(err, errBusy) {
				t.Errorf("within %v: %v", within, err)
			}
		}
		patient := make(chan error)
		for _, within := range []time.Duration{0, time.Minute} {
			go func() { patient <- check(large+1, within) }()
		}
		synctest.Wait()
		s.checkers.slots.free()
		for range 2 {
			if err := <-patient; err != nil {
				t.Errorf("when a slot comes free: %v", err)
			}
		}
	})
}
