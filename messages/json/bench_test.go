package json

import (
	"fmt"
	"strings"
	"testing"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// sized is a message of JSON of about that many bytes, as chats have them.
func sized(size int) string {
	text := `{"type":"chat","debug":true,"room":"general","at":1690000000.5,"text":"hello, \"world\"","items":[`
	item := `{"id":123456,"name":"an item, with a name","tags":["x","y"],"price":19.90}`
	items := strings.TrimSuffix(strings.Repeat(item+",", max(0, size-len(text)-24)/len(item)), ",")
	return text + items + `],"end":"` + strings.Repeat("x", max(0, size-len(text)-len(items)-11)) + `"}`
}

func benchmark(b *testing.B, block string) {
	e := handler(b, block)
	for _, size := range []int{128, 4 << 10, 64 << 10} {
		name := fmt.Sprintf("%dB", size)
		if size >= 1<<10 {
			name = fmt.Sprintf("%dKiB", size>>10)
		}
		text := sized(size)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			m := message(messages.Text, text)
			payload := make([]byte, len(text))
			for b.Loop() {
				copy(payload, text)
				m.Payload = payload
				if verdict, err := e.HandleMessage(m); err != nil || verdict.Kind != messages.KindPass {
					b.Fatal(verdict, err)
				}
			}
		})
	}
}

func BenchmarkSetAndDelete(b *testing.B) {
	benchmark(b, "set user_id {http.auth.user.id}\ndelete debug")
}

func BenchmarkDelete(b *testing.B) { benchmark(b, "delete debug") }

func BenchmarkWithoutEffect(b *testing.B) {
	benchmark(b, "require type\ndelete secret\nset room general")
}
