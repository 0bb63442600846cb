package convert

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// sample is a document of JSON with about so many bytes.
func sample(size int) []byte {
	const record = `{"id":12345,"user":"alice","at":"2026-11-26T10:00:00Z","value":21.5,"on":true,"tags":["a","b"],"note":"line\nnext"}`
	records := max(1, size/(len(record)+1))
	return []byte("[" + strings.Repeat(record+",", records-1) + record + "]")
}

func BenchmarkConvert(b *testing.B) {
	for _, way := range [][2]string{{"json", "cbor"}, {"cbor", "json"}, {"json", "msgpack"}, {"msgpack", "json"}, {"cbor", "msgpack"}} {
		for _, size := range []struct {
			name  string
			bytes int
		}{{"128B", 128}, {"4KiB", 4 << 10}, {"64KiB", 64 << 10}} {
			b.Run(fmt.Sprintf("%s-%s/%s", way[0], way[1], size.name), func(b *testing.B) {
				c := started(b, &Convert{From: way[0], To: way[1]}, true, false)
				payload := sample(size.bytes)
				if way[0] != "json" {
					var err error
					if payload, err = convert(payload, formats["json"], formats[way[0]], time.Time{}); err != nil {
						b.Fatal(err)
					}
				}
				room := bytes.Clone(payload)
				b.SetBytes(int64(len(payload)))
				b.ReportAllocs()
				for b.Loop() {
					copy(room, payload)
					m := messages.Message{Type: c.client.in, Payload: room}
					if v, err := c.HandleMessage(&m); err != nil || v.Kind != messages.KindPass {
						b.Fatal(v, err)
					}
				}
			})
		}
	}
}
