package enginetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
)

func beatNodes(t *testing.T, rig Rig) {
	a, b := rig.join(t, "a"), rig.join(t, "b")
	first := b.beat("").Nodes
	rig.Advance(time.Minute)
	nodes := a.beat("").Nodes
	if len(nodes) != 2 || nodes[0].ID != "a" || nodes[1].ID != "b" || string(nodes[0].Info) != "info of a" {
		t.Fatalf("got %+v", nodes)
	}
	if !nodes[1].Seen.Equal(first[1].Seen) || nodes[0].Seen.Sub(nodes[1].Seen) < time.Minute {
		t.Fatalf("first %+v, then %+v", first, nodes)
	}
	if answer := a.do(fleet.Batch{}); answer.Nodes != nil || answer.Records != nil {
		t.Fatalf("without a beat: %+v", answer)
	}
}

func beatRecords(t *testing.T, rig Rig) {
	a := rig.join(t, "a")
	_, position, _ := a.load()
	answer := a.beat(position)
	if answer.Gap || answer.Position != position || len(answer.Records) != 0 {
		t.Fatalf("nothing has changed: %+v", answer)
	}
	records := []fleet.Record{{Kind: "k", ID: "1", Data: []byte("x")}, {Kind: "l", ID: "1", Data: []byte{}}, {Kind: "k", ID: "1"}}
	a.publish(records...)
	answer = a.beat(position)
	if answer.Gap || answer.Position == position || !reflect.DeepEqual(answer.Records, records) {
		t.Fatalf("got %+v", answer)
	}
	if again := a.beat(answer.Position); again.Gap || again.Position != answer.Position || len(again.Records) != 0 {
		t.Fatalf("then %+v", again)
	}
	if none := a.beat(""); none.Gap || none.Position != "" || len(none.Records) != 0 {
		t.Fatalf("who follows nothing: %+v", none)
	}
}

func beatGap(t *testing.T, rig Rig) {
	a := rig.join(t, "a")
	a.publish(fleet.Record{Kind: "k", ID: "1", Data: []byte("x")})
	_, position, _ := a.load()
	rig.Flush()
	a.assert(nil, nil)
	for range 2 { // without a log, and with another
		if answer := a.beat(position); !answer.Gap || answer.Position != position || len(answer.Records) != 0 {
			t.Fatalf("got %+v", answer)
		}
		a.publish(fleet.Record{Kind: "k", ID: "2", Data: []byte("x")})
	}
	if answer := a.beat("nonsense"); !answer.Gap {
		t.Fatalf("got %+v", answer)
	}
}

func beatMany(t *testing.T, rig Rig) {
	a := rig.join(t, "a")
	_, position, _ := a.load()
	records := make([]fleet.Record, 0, 1001)
	for i := range 1001 {
		records = append(records, fleet.Record{Kind: "k", ID: fmt.Sprint(i), Data: []byte("x")})
	}
	a.publish(records...)
	answer := a.beat(position)
	if len(answer.Records) != 1000 {
		t.Fatalf("first %d", len(answer.Records))
	}
	rest := a.beat(answer.Position)
	if len(rest.Records) != 1 || rest.Records[0].ID != "1000" {
		t.Fatalf("then %+v", rest.Records)
	}
}

func load(t *testing.T, rig Rig) {
	a := rig.join(t, "a")
	want := []fleet.Record{{Kind: "k", ID: "2", Data: []byte("y")}, {Kind: "l", ID: "1", Data: []byte{}}}
	a.publish(fleet.Record{Kind: "k", ID: "1", Data: []byte("x")}, fleet.Record{Kind: "k", ID: "2", Data: []byte("x")}, want[1])
	a.publish(want[0], fleet.Record{Kind: "k", ID: "1"}, fleet.Record{Kind: "k", ID: "never"})
	records, position, fresh := a.load()
	if !reflect.DeepEqual(records, want) || fresh {
		t.Fatalf("got %+v, fresh %v", records, fresh)
	}
	if answer := a.beat(position); answer.Gap || len(answer.Records) != 0 {
		t.Fatalf("since then: %+v", answer)
	}
}

func loadFresh(t *testing.T, rig Rig) {
	a := rig.join(t, "a")
	records, position, fresh := a.load()
	if len(records) != 0 || position == "" || !fresh {
		t.Fatalf("first %v, %q, %v", records, position, fresh)
	}
	if _, again, fresh := a.load(); again != position || fresh {
		t.Fatalf("then %q, %v", again, fresh)
	}
}

func binary(t *testing.T, rig Rig) {
	odd := "\x00\r\n\xff*{}: \x80'\""
	a, b := rig.join(t, odd), rig.join(t, "b")
	a.claim(odd, 2)
	a.do(fleet.Batch{Slices: []fleet.Slice{{Key: odd, Cap: 9, Live: 2}}, Knocks: []fleet.Knock{{Key: odd, Every: time.Hour, Burst: 1}}})
	answer := b.do(fleet.Batch{
		Slices: []fleet.Slice{{Key: odd, Cap: 9}},
		Claims: []fleet.Claim{{Keys: []fleet.Capped{{Key: odd, Cap: 2}}}},
		Knocks: []fleet.Knock{{Key: odd, Every: time.Hour, Burst: 1}},
		Beat:   &fleet.Beat{Void: Void, Info: []byte(odd)},
	})
	if answer.Slices[0].Others != 2 || answer.Claims[0].Others[0] != 1 || answer.Knocks[0] <= 0 {
		t.Fatalf("got %+v", answer)
	}
	if answer.Nodes[0].ID != odd || string(answer.Nodes[1].Info) != odd {
		t.Fatalf("nodes: %+v", answer.Nodes)
	}
	_, position, _ := a.load()
	record := fleet.Record{Kind: "k", ID: odd, Data: []byte(odd)}
	a.publish(record)
	if got := a.beat(position).Records; !reflect.DeepEqual(got, []fleet.Record{record}) {
		t.Fatalf("log: %+v", got)
	}
	if got, _, _ := a.load(); !reflect.DeepEqual(got, []fleet.Record{record}) {
		t.Fatalf("records: %+v", got)
	}
}

// listen returns what the node hears, and how to stop that.
func listen(t *testing.T, n *node) (heard chan string, stop func() error) {
	ctx, cancel := context.WithCancel(testContext(t))
	listening, ended := make(chan struct{}), make(chan error, 1)
	heard = make(chan string, 100)
	go func() {
		ended <- n.engine.Listen(ctx, n.id, func() { close(listening) }, func(message []byte) { heard <- string(message) })
	}()
	select {
	case <-listening:
	case err := <-ended:
		t.Fatalf("%s does not listen: %v", n.id, err)
	}
	return heard, func() error {
		cancel()
		return <-ended
	}
}

func tell(t *testing.T, rig Rig) {
	a, b := rig.join(t, "a"), rig.join(t, "b")
	heardA, stopA := listen(t, a)
	heardB, stopB := listen(t, b)
	for _, message := range []struct{ to, text string }{{"b", "1"}, {"", "2"}, {"nobody", "3"}, {"a", "4\x00\r\n\xff"}, {"b", ""}} {
		if err := a.engine.Tell(testContext(t), message.to, []byte(message.text)); err != nil {
			t.Fatal(err)
		}
	}
	if got := []string{<-heardA, <-heardA}; !reflect.DeepEqual(got, []string{"2", "4\x00\r\n\xff"}) {
		t.Errorf("a heard %q", got)
	}
	if got := []string{<-heardB, <-heardB, <-heardB}; !reflect.DeepEqual(got, []string{"1", "2", ""}) {
		t.Errorf("b heard %q", got)
	}
	for _, stop := range []func() error{stopA, stopB} {
		if err := stop(); !errors.Is(err, context.Canceled) {
			t.Errorf("stopped: %v", err)
		}
	}
}

func listenEnds(t *testing.T, rig Rig) {
	a := rig.join(t, "a")
	listening, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- a.engine.Listen(testContext(t), "a", func() { close(listening) }, func([]byte) {})
	}()
	<-listening
	a.engine.Close()
	if err := <-ended; err == nil {
		t.Fatal("no error")
	}
}
