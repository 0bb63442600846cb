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
	wrap := func(tb testing.TB, c Config) *fixture {
		f := onTCP(tb, c)
		f.Relay.client.conn = wrapped{f.Relay.client.conn.(net.Conn)}
		f.Relay.upstream.conn = wrapped{f.Relay.upstream.conn.(net.Conn)}
		return f
	}
	for _, kind := range []struct {
		name string
		open func(testing.TB, Config) *fixture
	}{{"tcp", onTCP}, {"tls", onTLS}, {"wrapped", wrap}} {
		for _, size := range []int{32, 64 << 10} {
			b.Run(fmt.Sprintf("%s/size=%d", kind.name, size), func(b *testing.B) {
				f := kind.open(b, Config{WriteTimeout: time.Minute})
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

// BenchmarkBulk sends a stream of messages to a client that reads as fast as it can.
func BenchmarkBulk(b *testing.B) {
	for _, kind := range []struct {
		name string
		open func(testing.TB, Config) *fixture
	}{{"tcp", onTCP}, {"tls", onTLS}} {
		b.Run(kind.name, func(b *testing.B) {
			f := kind.open(b, Config{WriteTimeout: time.Minute})
			f.run()
			message := frame(wsframe.Binary, false, make([]byte, 64<<10))
			b.SetBytes(int64(len(message)))
			all := make(chan error, 1)
			go func() {
				_, err := io.CopyN(io.Discard, f.client, int64(b.N)*int64(len(message)))
				all <- err
			}()
			for range b.N {
				if _, err := f.upstream.Write(message); err != nil {
					b.Fatal(err)
				}
			}
			if err := <-all; err != nil {
				b.Fatal(err)
			}
			f.client.Close()
			f.upstream.Close()
			f.end(b)
		})
	}
}
