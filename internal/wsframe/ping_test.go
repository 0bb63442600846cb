package wsframe

import (
	"bytes"
	"testing"
)

func TestAppendPing(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 8, 125} {
		payload := bytes.Repeat([]byte{'p'}, size)
		want := appendFrame([]byte("before"), Ping, final, nil, payload)
		if got := AppendPing([]byte("before"), payload); !bytes.Equal(got, want) {
			t.Errorf("AppendPing = %q, want %q", got, want)
		}
	}
	payload := bytes.Repeat([]byte{'p'}, 126)
	if got, want := AppendPing(nil, payload), appendFrame(nil, Ping, final, nil, payload[:125]); !bytes.Equal(got, want) {
		t.Errorf("too long a payload: AppendPing = %q, want %q", got, want)
	}
}
