package bubble

import (
	"io"
	"net"
)

// Peer is the far end of one side of a connection.
type Peer struct {
	net.Conn
	Code chan int // of the close frame that the peer got, 0 if something else came
}

// NewPeer returns a peer and the end of the gateway.
func NewPeer() (near net.Conn, far *Peer) {
	near, beyond := net.Pipe()
	return near, &Peer{beyond, make(chan int, 1)}
}

// AnswerClose reads until a close frame, records its code and answers it.
func (p *Peer) AnswerClose() {
	buf := make([]byte, 256)
	n, err := p.Read(buf)
	if err != nil || n < 2 || buf[0] != 0x88 {
		p.Code <- 0
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
	p.Code <- int(payload[0])<<8 | int(payload[1])
	_, _ = p.Write([]byte{0x88, 0x02, payload[0], payload[1]})
	_, _ = io.Copy(io.Discard, p)
}
