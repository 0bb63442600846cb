package relay

import (
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/pace"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// looked is a relay that is fed by hand, at times that the test makes up.
type looked struct {
	*Relay
	made int64
}

func newLooked() looked {
	r := New(Config{})
	return looked{r, r.lastActive}
}

// pass has a message come from a side at a time since the relay was made.
func (l looked) pass(from, to *side, at time.Duration, message []byte) {
	now := l.made + int64(at)
	l.followPiece(from, to, message, now)
	l.pieceWritten(from, to, nil, now)
}

func (l looked) look(at time.Duration) Look { return l.Look(moment(l.made + int64(at))) }

func TestLookHasThePaceOfEachSide(t *testing.T) {
	t.Parallel()
	l := newLooked()
	for at := time.Duration(0); at < 30*time.Second; at += 100 * time.Millisecond {
		l.pass(&l.client, &l.upstream, at, maskedText("0123456789"))
		if at%time.Second == 0 {
			l.pass(&l.upstream, &l.client, at, frame(wsframe.Text, true, []byte("01234")))
		}
	}
	near := func(got pace.Pace, messages, bytes float64) bool {
		return got.Messages > 0.9*messages && got.Messages < 1.1*messages && got.Bytes > 0.9*bytes && got.Bytes < 1.1*bytes
	}
	if look := l.look(30 * time.Second); !near(look.PaceFromClient, 10, 100) || !near(look.PaceFromUpstream, 1, 5) {
		t.Errorf("%+v from the client, want 10 messages and 100 bytes; %+v from the upstream, want 1 and 5", look.PaceFromClient, look.PaceFromUpstream)
	}
	if look := l.look(40 * time.Second); look.PaceFromClient != (pace.Pace{}) || look.PaceFromUpstream != (pace.Pace{}) {
		t.Errorf("after ten seconds of silence: %+v and %+v", look.PaceFromClient, look.PaceFromUpstream)
	}
}

func TestLookHasWhatCame(t *testing.T) {
	t.Parallel()
	l := newLooked()
	first := maskedText("a")
	first[0] &^= 0x80 // there is more of the message
	l.pass(&l.client, &l.upstream, 0, append(first, frame(wsframe.Continuation, true, []byte("bc"))...))
	l.pass(&l.client, &l.upstream, 0, frame(wsframe.Ping, true, []byte("p")))
	if want := (wsframe.Counts{Messages: 1, Text: 1, Pings: 1, Bytes: 3}); l.look(0).FromClient != want {
		t.Errorf("%+v, want %+v", l.look(0).FromClient, want)
	}
}
