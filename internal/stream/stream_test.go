package stream

import (
	"errors"
	"io"
	"testing"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

func TestAStreamEndsBetweenEvents(t *testing.T) {
	far, near := io.Pipe()
	s := New(Config{Body: readCloser{far}, ClientGone: func() error { return nil }})
	go func() {
		_, _ = io.WriteString(near, "data: 1\n\ndata: 2\n")
		_, _ = io.WriteString(near, "\ndata: 3\n\n")
	}()
	buf := make([]byte, 1<<10)
	n, err := s.Read(buf)
	if err != nil || string(buf[:n]) != "data: 1\n\ndata: 2\n" {
		t.Fatalf("got %q, %v", buf[:n], err)
	}
	s.End(relay.Close{Code: 1012, Reason: "service restart"}, relay.Close{})
	if n, err = s.Read(buf); err != nil || string(buf[:n]) != "\n" {
		t.Fatalf("got %q, %v", buf[:n], err)
	}
	if n, err = s.Read(buf); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("got %q, %v", buf[:n], err)
	}
	_ = s.Close()
	if out := s.Outcome(); out.By != relay.Gateway || out.Reason != "service restart" || out.FromUpstream.Messages != 2 {
		t.Errorf("got %+v", out)
	}
}

type readCloser struct{ *io.PipeReader }

func (r readCloser) Close() error { return r.PipeReader.Close() }
