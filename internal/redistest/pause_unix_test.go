//go:build unix

package redistest

import "testing"

func TestServerIsPausedAndGoesOn(t *testing.T) {
	s := Start(t)
	s.Pause()
	answered := make(chan any)
	go func() {
		answer, err := s.do([]string{"PING"})
		if err != nil {
			answer = err
		}
		answered <- answer
	}()
	s.Resume()
	if got := <-answered; got != "PONG" {
		t.Fatalf("got %v", got)
	}
}
