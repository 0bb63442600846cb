package assembly

import (
	"errors"
	"unicode/utf8"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// leg is the stream of a side on its way into messages.
type leg struct {
	to      taker
	party   relay.Party
	deflate handshake.Deflate
	most    int    // bytes of a message that is brought together
	mostAll uint64 // bytes of a message that passes as it comes; 0 for any
	streams bool   // messages pass as they come, if they are not compressed

	frames wsframe.Discipline
	head   []byte // what has come of a header
	frame  wsframe.Header
	left   uint64 // of the payload of the frame
	within bool   // a frame
	chunk  int    // how much is being followed

	control []byte // payload of a control frame
	partial partialMessage
	window  []byte // what the side has sent before, where that counts
	over    bool   // the stream can be followed no further
}

// partialMessage is a message that has begun and is not complete.
type partialMessage struct {
	kind       messages.Type
	compressed bool
	passes     bool // as it comes
	dropped    bool
	continues  bool // a fragment of it has passed
	size       uint64
	text       wsframe.UTF8
	held       *room // nil for nothing
	charged    int   // to what may be held in the process
}

// taker takes what comes of a stream.
type taker interface {
	// begin is told of a message that passes as it comes, and reports whether it may.
	begin(l *leg, kind messages.Type) bool
	fragment(l *leg, op wsframe.Opcode, final bool, payload []byte)
	complete(l *leg, kind messages.Type, payload []byte)
	control(l *leg, op wsframe.Opcode, payload []byte)
	violated(l *leg, v violation)
	full() bool // has to pass on what it has before it takes more
}

// violation is why the stream of a side is not followed any further.
type violation struct {
	code   int
	reason string
	limit  string
	blind  bool // nobody knows where the next frame begins
}

// feed follows the stream over p, whose bytes may be overwritten, until the taker is full.
func (l *leg) feed(p []byte) (n int) {
	l.chunk = len(p)
	for !l.over && !l.to.full() {
		if !l.within {
			if n == len(p) {
				break
			}
			n += l.header(p[n:])
			if l.within && l.left == 0 {
				l.endFrame()
			}
			continue
		}
		if n == len(p) {
			break
		}
		size := int(min(uint64(len(p)-n), l.left))
		l.left -= uint64(size)
		l.payload(p[n : n+size : n+size])
		n += size
		if l.left == 0 && !l.over {
			l.endFrame()
		}
	}
	if l.over {
		return len(p)
	}
	return n
}

// header takes as much of p as belongs to the header of the next frame.
func (l *leg) header(p []byte) (n int) {
	h, complete := wsframe.ParseHeader(p)
	n = h.Size
	if len(l.head) > 0 || !complete {
		before := len(l.head)
		l.head = append(l.head, p[:min(len(p), 14-before)]...)
		if h, complete = wsframe.ParseHeader(l.head); !complete {
			return len(l.head) - before
		}
		n = h.Size - before
		l.head = nil
	}
	l.within, l.frame, l.left = true, h, h.Length
	l.beginFrame()
	return n
}

func (l *leg) beginFrame() {
	h := &l.frame
	reserved := byte(0)
	if l.deflate.Agreed {
		reserved = wsframe.Deflate
	}
	if v := l.frames.Judge(*h, l.party == relay.Client, reserved); v.Found() {
		l.violate(violation{code: v.Code, reason: v.Reason, blind: true})
		return
	}
	if h.Control() {
		return
	}
	m := &l.partial
	if h.Opcode != wsframe.Continuation {
		*m = partialMessage{kind: messages.Type(h.Opcode), compressed: h.Reserved&wsframe.Deflate != 0}
		m.passes = l.streams && !m.compressed
		if m.passes {
			m.dropped = !l.to.begin(l, m.kind)
		}
	}
	m.size += h.Length
	if m.size < h.Length || m.size > l.mostOf(m) {
		l.violate(tooBig)
	}
}

// mostOf is how many bytes a message may have on the wire. Compressing may make it a
// little longer.
func (l *leg) mostOf(m *partialMessage) uint64 {
	switch {
	case !m.passes && !m.compressed:
		return uint64(l.most)
	case !m.passes:
		return uint64(l.most) + uint64(l.most)/1000 + 64
	case l.mostAll > 0:
		return l.mostAll
	}
	return 1<<63 - 1
}

// payload takes payload of the frame, of which l.left follows.
func (l *leg) payload(p []byte) {
	offset := l.frame.Length - l.left - uint64(len(p))
	m := &l.partial
	switch {
	case l.frame.Control():
		l.control = append(l.control, p...)
		wsframe.Mask(l.control[offset:], l.frame.Key, offset)
	case m.dropped:
	case m.passes:
		wsframe.Mask(p, l.frame.Key, offset)
		l.passFragment(p)
	default:
		wsframe.Mask(p, l.frame.Key, offset)
		if m.held == nil && l.left == 0 && l.frame.Final && !m.compressed {
			l.finish(p) // it need not be held
			m.dropped = true
			return
		}
		l.hold(p)
	}
}

// mostWhole is how much of a message that passes as it comes is kept to be passed whole:
// not every peer likes fragments.
const mostWhole = 64 << 10

// passFragment passes a part of a message.
func (l *leg) passFragment(p []byte) {
	m := &l.partial
	final := l.left == 0 && l.frame.Final
	least := mostWhole
	if m.continues {
		least = wsframe.SmallFragment // else a frame that comes bit by bit became very many
	}
	if !final && len(m.bytes())+len(p) < least {
		l.hold(p)
		return
	}
	if m.held != nil {
		if l.hold(p); m.dropped {
			return
		}
		p = m.bytes()
	}
	if m.kind == messages.Text && (!m.text.Scan(p, [4]byte{}, 0) || final && !m.text.Complete()) {
		l.violate(notUTF8)
		return
	}
	op := wsframe.Continuation
	if !m.continues {
		op = wsframe.Opcode(m.kind)
	}
	m.continues = true
	l.to.fragment(l, op, final, p)
	m.letGo()
}

// hold keeps a part of a message until the rest has come.
func (l *leg) hold(p []byte) {
	m := &l.partial
	if !m.makeRoom(len(p), l.left, l.frame.Final, l.most) {
		l.violate(tooMuchHeld)
		return
	}
	m.held.p = append(m.held.p, p...)
}

// makeRoom has room for n bytes more, and for a tail. Nobody gets room for what is only
// announced of the frame, but for as much again as has come. It fails where too much is
// held.
func (m *partialMessage) makeRoom(n int, announced uint64, last bool, most int) (ok bool) {
	have := m.bytes()
	need := len(have) + n + len(tail)
	if m.held != nil && need <= cap(m.held.p) {
		return true
	}
	wanted := need + int(min(announced, uint64(need)))
	if len(have) > 0 {
		wanted = max(wanted, 2*need) // many small parts must not be moved each time
	}
	larger := scratch.get
	if announced > 0 || !last { // it may be held for long
		larger = scratch.frugal
	}
	room := larger(max(need, min(wanted, most+len(tail))))
	if !relay.Hold(cap(room.p)) {
		room.release()
		return false
	}
	room.p = append(room.p, have...)
	m.letGo()
	m.held, m.charged = room, cap(room.p)
	return true
}

// bytes returns what is held of the message.
func (m *partialMessage) bytes() []byte {
	if m.held == nil {
		return nil
	}
	return m.held.p
}

// letGo forgets what is held of a message.
func (m *partialMessage) letGo() {
	if m.held == nil {
		return
	}
	relay.LetGo(m.charged)
	m.held.release()
	m.held, m.charged = nil, 0
}

func (l *leg) endFrame() {
	l.within = false
	if l.over {
		return
	}
	m := &l.partial
	switch {
	case l.frame.Control():
		p := l.control
		l.control = nil
		if l.frame.Opcode == wsframe.Close && !l.closes(p) {
			return
		}
		l.to.control(l, l.frame.Opcode, p)
	case m.passes && !m.dropped && l.frame.Length == 0:
		l.passFragment(nil)
	case !l.frame.Final || m.passes || m.dropped:
	case m.compressed:
		l.inflate()
	default:
		l.finish(m.bytes())
	}
	if l.frame.Final && !l.frame.Control() {
		m.letGo()
	}
}

// closes judges what a close frame says.
func (l *leg) closes(payload []byte) (ok bool) {
	v := wsframe.CheckClose(payload)
	if v.Found() {
		l.violate(violation{code: v.Code, reason: v.Reason, blind: true})
	}
	return !v.Found()
}

func (l *leg) inflate() {
	m := &l.partial
	b := scratch.get(min(4*len(m.bytes()), l.most))
	defer func() { b.release() }()
	b, err := inflate(b, m.bytes(), l.window, l.most)
	relay.Charge(cap(b.p))
	defer relay.Uncharge(cap(b.p))
	switch {
	case errors.Is(err, errTooBig):
		l.violate(tooBig)
	case err != nil:
		l.violate(notDeflated)
	default:
		if l.deflate.Takeover {
			l.window = append(l.window[:0], lastOf(b.p, l.window)...)
		}
		l.finish(b.p)
	}
}

// finish takes a message that is complete.
func (l *leg) finish(payload []byte) {
	if l.partial.kind == messages.Text && !utf8.Valid(payload) {
		l.violate(notUTF8)
		return
	}
	l.to.complete(l, l.partial.kind, payload)
}

// violate ends the stream.
func (l *leg) violate(v violation) {
	l.partial.letGo()
	l.partial.dropped = true
	l.over = l.over || v.blind
	l.to.violated(l, v)
}

var (
	tooBig      = violation{code: 1009, reason: "message too big", limit: relay.LimitMessageSize}
	notUTF8     = violation{code: wsframe.TextNotUTF8.Code, reason: wsframe.TextNotUTF8.Reason}
	notDeflated = violation{code: wsframe.TextNotUTF8.Code, reason: "message that cannot be inflated"}
	tooMuchHeld = violation{code: 1013, reason: "too much to hold", limit: relay.LimitBuffers}
)
