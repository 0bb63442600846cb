package balance

import "testing"

func TestAStreamCountsAsAConnectionAndAsNoRequest(t *testing.T) {
	ledger := NewLedger()
	up := &host{}
	b := ledger.New(Settings{Policy: LeastConn{}, MaxConns: 1}, []Member{{Address: "a", Weight: 1, Source: up}})
	var stream, other Lease
	if _, refusal := b.Acquire(&stream, Ask{Use: Stream}); refusal != None {
		t.Fatal(refusal)
	}
	if got, want := ledger.Look("a"), (Snapshot{Address: "a", Live: 1, Streams: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, use := range []Use{Stream, WebSocket} {
		if _, refusal := b.Acquire(&other, Ask{Use: use}); refusal != Full {
			t.Errorf("use %d above the cap: got %d, want Full", use, refusal)
		}
	}
	if _, refusal := b.Acquire(&other, Ask{Use: Request}); refusal != None {
		t.Errorf("a request: got %d", refusal)
	}
	other.Release()
	stream.Release()
	stream.Release()
	if got, want := ledger.Look("a"), (Snapshot{Address: "a"}); got != want {
		t.Errorf("in the end: got %+v, want %+v", got, want)
	}
}

func TestARequestTurnsIntoAStreamWhereThereIsRoom(t *testing.T) {
	ledger := NewLedger()
	b := ledger.New(Settings{Policy: LeastConn{}, MaxConns: 1}, []Member{{Address: "a", Weight: 1, Source: &host{}}})
	var first, second Lease
	b.Acquire(&first, Ask{Use: Request})
	b.Acquire(&second, Ask{Use: Request})
	if refusal := b.Turn(&first, Ask{Use: Stream}); refusal != None {
		t.Errorf("the first: got %d, want None", refusal)
	}
	if refusal := b.Turn(&second, Ask{Use: Stream}); refusal != Full {
		t.Errorf("the second: got %d, want Full", refusal)
	}
	if got, want := ledger.Look("a"), (Snapshot{Address: "a", Live: 1, Streams: 1, Requests: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if refusal := b.Turn(&first, Ask{Use: Request}); refusal != None {
		t.Errorf("back: got %d, want None", refusal)
	}
	if refusal := b.Turn(&second, Ask{Use: Stream}); refusal != None {
		t.Errorf("the second, once there is room: got %d, want None", refusal)
	}
	first.Release()
	second.Release()
	if refusal := b.Turn(&first, Ask{Use: Stream}); refusal != Dead {
		t.Errorf("a lease that holds nothing: got %d, want Dead", refusal)
	}
	if held := ledger.Held(); held != 0 {
		t.Errorf("%d slots are held in the end", held)
	}
}

func TestAStreamIsNoRequestOfItsUpstreamAsWell(t *testing.T) {
	ledger := NewLedger()
	members, hosts := newMembers(2)
	b := ledger.New(Settings{Policy: LeastConn{}}, members)
	for _, slot := range []struct {
		use Use
		at  int
	}{{Stream, 0}, {Stream, 0}, {WebSocket, 1}, {WebSocket, 1}, {WebSocket, 1}} {
		if !b.Take(new(Lease), Ask{Use: slot.use}, members[slot.at]) {
			t.Fatal("refused")
		}
	}
	hosts[0].requests.Store(2) // as reverse_proxy counts the streams
	if i, _ := b.Acquire(new(Lease), Ask{Use: WebSocket}); i != 0 {
		t.Error("two streams weigh more than three WebSockets")
	}
}
