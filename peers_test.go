package wsgateway

import (
	"io"
	"net"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// elapse lets the fake time of a synctest bubble pass.
var elapse = bubble.Elapse

// peer is the far end of one side of a connection.
type peer struct {
	net.Conn
	code chan int // of the close frame it got
}

// answerClose reads until a close frame, records its code and answers it.
func (p *peer) answerClose() {
	buf := make([]byte, 256)
	n, err := p.Read(buf)
	if err != nil || n < 2 || buf[0] != 0x88 {
		p.code <- 0
		return
	}
	payload := buf[2:n]
	if buf[1]&0x80 != 0 {
		key := payload[:4]
		payload = payload[4:]
		for i := range payload {
			payload[i] ^= key[i%4]
		}
	}
	p.code <- int(payload[0])<<8 | int(payload[1])
	_, _ = p.Write([]byte{0x88, 0x02, payload[0], payload[1]})
	_, _ = io.Copy(io.Discard, p)
}

// linked describes a connection of now, and its far ends.
func linked() (d live.Details, client, backend *peer) {
	nearClient, farClient := net.Pipe()
	nearBackend, farBackend := net.Pipe()
	client, backend = &peer{farClient, make(chan int, 1)}, &peer{farBackend, make(chan int, 1)}
	return live.Details{OpenedAt: time.Now(), Relay: relay.New(relay.Config{Client: nearClient, Upstream: nearBackend})}, client, backend
}
