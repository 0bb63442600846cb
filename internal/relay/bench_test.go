package relay

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// BenchmarkRelay sends a message through and back.
func BenchmarkRelay(b *testing.B) {
	for _, size := range []int{32, 64 << 10} {
		for _, wrap := range []bool{false, true} {
			b.Run(fmt.Sprintf("size=%d/wrapped=%v", size, wrap), func(b *testing.B) {
				f := onTCP(b, Config{WriteTimeout: time.Minute})
				if wrap {
					f.Relay.client.conn = wrapped{f.Relay.client.conn.(net.Conn)}
					f.Relay.upstream.conn = wrapped{f.Relay.upstream.conn.(net.Conn)}
				}
				f.run()
				message := frame(wsframe.Binary, true, make([]byte, size))
				go func() { _, _ = io.Copy(f.upstream, f.upstream) }()
				back := make([]byte, len(message))
				b.ReportAllocs()
				b.SetBytes(int64(2 * len(message)))
				for b.Loop() {
					if _, err := f.client.Write(message); err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadFull(f.client, back); err != nil {
						b.Fatal(err)
					}
				}
				f.client.Close()
				f.upstream.Close()
				f.end(b)
			})
		}
	}
}
