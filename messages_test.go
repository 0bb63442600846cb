package wsgateway

import (
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func TestMessageBlocksSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	for want, block := range map[string]*MessageBlock{
		"a block is null":                    nil,
		`direction "from_server" is unknown`: {Direction: "from_server"},
		"budget: -1s is negative: leave it ": {Budget: -caddy.Duration(time.Second)},
	} {
		_, err := loadMessages(caddy.Context{}, []*MessageBlock{block}, 0, messageReporter{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
