package integration

import (
	"fmt"
	"testing"
)

// TestMessagesExample has the npm packages ws and @msgpack/msgpack talk through the
// example: JSON on one side, MessagePack on the other.
func TestMessagesExample(t *testing.T) {
	server := startNode(t, "msgpack-server.mjs", "one")
	up := fmt.Sprint(":", server.await(t, "listening").Port)
	site := port(freePort(t))
	g := startExample(t, "messages.Caddyfile", ":8080", site, "localhost:9001", "127.0.0.1"+up)
	g.httpAddr = "127.0.0.1" + site
	client := startNode(t, "msgpack-client.mjs", "ws://"+g.httpAddr+"/ws?access_token=alice-demo-token")
	client.await(t, "open")
	for _, exchange := range []struct{ says, hears string }{
		{`{"type":"ping"}`, `{"type":"pong"}`},
		{`{"type":"debug","text":"for nobody"}`, ""},
		{`{"text":"without a type"}`, ""},
		{
			`{"type":"order", "id":12345678901, "price":0.1, "admin":true, "tags":["ü",null]}`,
			`{"type":"answer","got":{"type":"order","id":12345678901,"price":0.1,"tags":["ü",null],"user_id":"alice"},"key":"[redacted]"}`,
		},
		{`{"type":"x","admin":1,"user_id":"mallory"}`, `{"type":"answer","got":{"type":"x","user_id":"alice"},"key":"[redacted]"}`},
	} {
		client.command(t, exchange.says)
		if exchange.hears == "" {
			continue // what comes next is the answer to what is said next
		}
		if got := client.await(t, "message").Text; got != exchange.hears {
			t.Errorf("to %s comes %s, want %s", exchange.says, got, exchange.hears)
		}
	}
}
