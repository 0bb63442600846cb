// Package relay moves the bytes of one WebSocket connection between a client
// and an upstream until the connection ends, and ends it in order.
//
//	Client ───► pump ───► outlet ───► Upstream
//	Client ◄─── outlet ◄─── pump ◄─── Upstream
//
// A pump reads from one side and hands the bytes to the outlet of the other side. The
// pump passes bytes on unchanged and only notes where frames end. The outlet is the
// one writer to its side: a pump takes the outlet's baton for every chunk, and a close
// frame of ours enters when the baton is free and the stream stands between two
// frames. Else the pump puts the close frame in at the next end of a frame. Nothing
// follows a close frame: once one was written to a side, whatever else the other side
// sends is read and dropped.
//
// Every frame is judged by its header before any of the frame is passed on (inspect.go):
// by what holds for all connections, and by the [Policy] of this one (limits.go,
// strict.go). What cannot be judged yet, the beginning of a header or of a pong that may
// be the answer to our ping, is kept until the rest has come. So the end of a
// connection is never shut out by half a header. Bytes that have to wait for a rate are
// kept as well, and no more is read then. Pings are put in where close frames are
// (pulse.go).
//
// How a connection ends:
//
//	first cause               | outcome          | client gets     | upstream gets
//	--------------------------|------------------|-----------------|--------------
//	close frame from client   | client, its code | upstream's own  | that frame
//	close frame from upstream | upstream, its    | that frame      | client's own
//	client fails or stalls    | client, 1011     | nothing         | 1011
//	upstream fails or stalls  | upstream, 1012   | 1012            | nothing
//	client half-closes        | client, 1011     | what still came | then 1011
//	upstream half-closes      | upstream, 1012   | then 1012       | what still came
//	a side breaks a rule      | gateway, the code| the code, or 1001| 1001, or the code
//	client answers no ping    | client, 1011     | 1001            | 1011
//	no messages               | gateway, 1001    | 1001            | 1001
//	client is too slow        | gateway, 1013    | 1013            | 1011
//	upstream is too slow      | gateway, 1012    | 1012            | 1013
//	End                       | gateway, client's| as told         | as told
//
// A side fails if reading from it or writing to it fails, and stalls if the peer takes
// nothing of what is written to it for the write timeout; on Linux, the socket is
// asked how much of that has been acknowledged, since the kernel may take nothing
// more for long although the peer does (progress.go). A side half-closes if its stream
// ends without a close frame.
//
// A side to which a write has failed may have said why before: what that side has sent
// is passed on first, and if a close frame ends it, the close frame is the first cause
// in place of the failure.
//
// After the first cause, a side is complete when its own close frame has come, or its
// stream has ended. When both sides are complete, both are closed. A side to which a
// close frame cannot be sent, because the other side died in the middle of a frame, is
// just closed. CloseTimeout bounds all this, but for a close frame behind data that a
// side is slow to take: as long as the side takes something, it is given the time.
//
// # Slow sides
//
// What a side does not take is held in memory, and the other side is not read from. All
// that is held is charged to one budget for the process (budget.go), by the memory it
// takes up and not by its length: on the loop the chunks that sides own, and where
// goroutines relay, the buffer from which a goroutine is writing. What a rate holds back
// is not charged.
//
// A side is too slow if the budget is exceeded and no other side has taken nothing for
// longer. What is held for the side goes at once, but for the rest of a frame that it
// has got the beginning of and a close frame, if they are small. If they are not, or if
// records of TLS would have to be left out, the side is just closed, since no close frame
// may come within a frame. So nothing is lost but of a connection that is cut.
//
// The loop reads no more at once than the kernel of the other side is going to take,
// unless that is a small piece (bulk_linux.go), so that one that has stopped reading
// holds a piece.
//
// # The loop or goroutines
//
// The rules are the same, whatever does the reading and writing (ending.go and
// outlet.go). [Relay.Start] chooses:
//
//	client         | upstream       | relayed by
//	---------------|----------------|------------------------------------
//	plain or TLS   | plain or TLS   | the loop, without a goroutine
//	anything else                   | two goroutines
//
// Plain is a TCP or unix socket with nothing around it, and TLS is crypto/tls around
// a plain socket, unless the peer may renegotiate or crypto/tls is not as the loop
// knows it ([TLSTrouble]). The loop exists on Linux alone, and not if the build tag
// noloop is set; elsewhere goroutines relay everything. So they do for [Relay.Run],
// which is for callers that have to wait anyway.
//
// # The loop
//
//	        Start, End                      Go's network poller
//	            │ queue                             │ one goroutine waits
//	            ▼                                   ▼
//	┌─ eventfd ─► epoll set ◄─ sockets ──► turns: for each event
//	│                                        receive ─► chunk ─► send
//	│                                                     └─ not all taken: the
//	│  wheel (stalls, ends, pings, rates)                    side keeps the chunk
//	└─ clock ◄─┘
//
// A loop is one goroutine with an epoll set. The goroutine waits for the set in Go's
// poller, so that no thread is taken up. A turn handles what is ready, with one read
// of at most one chunk for each socket, so that no connection waits long for others.
// The chunk is shared by all connections. Reading and writing are raw system calls
// that never block. Whoever opens a connection takes a turn in place of the goroutine
// when that is late, because it stands in line with all that open (giveway_linux.go).
//
// Each direction of a connection is in one of four states, which say what the set is
// asked to tell (listen):
//
//	flowing | its source is watched for something to read
//	blocked | its destination has a chunk, or the rest of one, and is watched for
//	        | room; the source is not read from
//	held    | what came from its source waits for a rate; the source is not read from
//	over    | its source has been read to the end, and is not watched
//
// A connection enters a place, and is evicted when it is finished. One in which nothing
// has to be done yet begins as it enters, in the goroutine of Start; any other is queued, and
// begun by the loop. An upstream whose answer is awaited by [Await] has a place of its
// own, the berth, which the connection takes over (berth_linux.go).
//
// Whatever a connection waits for, the loop has one deadline for the connection, in a
// timing wheel that one timer turns (wheel.go). A deadline that comes to be later stays
// where it is, and is looked at when it has come: traffic does not touch the wheel. For
// relays of goroutines there is one such wheel in the process (keeper.go).
//
// A descriptor on the loop belongs to whoever turns the loop from the first to the last:
// no other reads, writes, watches or closes it, and the loop
// forgets the descriptor's number when it closes it. It is a duplicate, and the conn that
// was handed over is closed at once, so that Go's poller lets go of the socket; where the
// poller never knew the socket, it is the conn's own. Events bear the place and
// the place's generation, and events of an earlier generation are void. So nothing can
// be written to a descriptor that was closed and whose number was given out again.
//
// # TLS on the loop
//
//	socket ── receive ─► raw ─ whole records ─► crypto/tls ─► chunk ─► the other side
//	socket ◄─── send ─── out ◄──── records ──── crypto/tls ◄──────── the other side
//
// Raw and out are the loop's, and shared by all sessions. A session that is quiet keeps
// neither; a session that has got the beginning of a record keeps that much. crypto/tls
// is asked for plaintext only when a whole record is there, so that it never waits
// (tls_linux.go). For this the loop sets fields of a tls.Conn that are not exported
// (insides.go). Before the first session is handed to the loop, the same is done to
// sessions in memory, under both versions of TLS (trial.go); if that fails, TLS is left
// to goroutines.
//
// A live connection on the loop has no timer of its own, but 16 bytes in the wheel, and
// no buffer. No lock of a connection is held over I/O.
//
// # Panics
//
// A panic ends the connection in which it happened, and is part of the connection's
// outcome (contain.go). The loop goes on with the next event, and has forgotten that
// connection: its place, its timer, its descriptors. If a panic belongs to no
// connection, the loop ends all its connections and is replaced. Locks are released by
// defers, so that no panic leaves a lock held.
package relay
