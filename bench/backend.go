package main

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // RFC 6455 asks for it
	"encoding/base64"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// backend is the server behind every proxy. It echoes each message, and on the
// path /push sends one a second of its own accord.
type backend struct {
	mu     sync.Mutex
	pushed map[net.Conn]struct{}
}

const pushSlots = 100 // a second's messages are spread over so many moments

func serveBackend(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	b := &backend{pushed: make(map[net.Conn]struct{})}
	go b.push()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go b.serve(c)
	}
}

func (b *backend) serve(c net.Conn) {
	defer c.Close()
	br := bufio.NewReaderSize(c, 4<<10)
	var key, path string
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			break
		}
		if rest, ok := strings.CutPrefix(line, "GET "); ok {
			path, _, _ = strings.Cut(rest, " ")
		}
		if name, value, ok := strings.Cut(line, ": "); ok && strings.EqualFold(name, "Sec-WebSocket-Key") {
			key = value
		}
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // as above
	_, err := io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+
		base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n")
	if err != nil {
		return
	}
	if path == "/push" {
		b.mu.Lock()
		b.pushed[c] = struct{}{}
		b.mu.Unlock()
		defer func() {
			b.mu.Lock()
			delete(b.pushed, c)
			b.mu.Unlock()
		}()
	}
	echo(c, br)
}

// echo answers every frame with its payload.
func echo(c net.Conn, br *bufio.Reader) {
	var out []byte
	for {
		opcode, n, err := readHeader(br)
		if err != nil {
			return
		}
		out = appendHeader(out[:0], opcode, n, false)
		at := len(out)
		if cap(out) < at+n {
			out = append(make([]byte, 0, at+n), out...)
		}
		out = out[:at+n]
		if _, err := io.ReadFull(br, out[at:]); err != nil {
			return
		}
		if _, err := c.Write(out); err != nil || opcode == 8 {
			return
		}
		if n > 64<<10 {
			out = nil
		}
	}
}

// push sends every connection of /push a message a second.
func (b *backend) push() {
	message := appendHeader(nil, 2, 32, false)
	message = append(message, make([]byte, 32)...)
	for tick, slot := time.NewTicker(time.Second/pushSlots), 0; ; slot = (slot + 1) % pushSlots {
		<-tick.C
		b.mu.Lock()
		i := 0
		for c := range b.pushed { // in random order: a message a second is the mean
			if i%pushSlots == slot {
				_, _ = c.Write(message)
			}
			i++
		}
		b.mu.Unlock()
	}
}

func readHeader(br *bufio.Reader) (opcode byte, n int, err error) {
	var h [8]byte
	if _, err = io.ReadFull(br, h[:2]); err != nil {
		return 0, 0, err
	}
	opcode, n = h[0]&0x0F, int(h[1]&0x7F)
	masked := h[1]&0x80 != 0
	switch n {
	case 126:
		_, err = io.ReadFull(br, h[:2])
		n = int(binary.BigEndian.Uint16(h[:2]))
	case 127:
		_, err = io.ReadFull(br, h[:8])
		n = int(binary.BigEndian.Uint64(h[:8]))
	}
	if masked && err == nil {
		_, err = io.ReadFull(br, h[:4]) // zeros
	}
	return opcode, n, err
}

func appendHeader(b []byte, opcode byte, n int, masked bool) []byte {
	var mask byte
	if masked {
		mask = 0x80
	}
	b = append(b, 0x80|opcode)
	switch {
	case n < 126:
		b = append(b, mask|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, mask|127), uint64(n))
	}
	if masked {
		b = append(b, 0, 0, 0, 0)
	}
	return b
}
