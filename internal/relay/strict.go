package relay

import "github.com/wsgateway/caddy-ws-gateway/internal/wsframe"

// strictness holds the two directions to RFC 6455.
type strictness struct {
	sides     [2]strictSide // what the client sends, and the upstream
	reserved  byte          // what the extensions use, as wsframe.Discipline wants it
	assembled bool          // texts are looked at elsewhere
}

// judge judges a frame of a side, of which h is the header, with as much of its payload
// as is to be passed at once.
func (s *strictness) judge(from Party, h *wsframe.Header, payload []byte) (fate, *violation) {
	return s.sides[from].judge(h, payload, from == Client, s)
}

// strictSide is what a side that sends frames is held to.
type strictSide struct {
	frames wsframe.Discipline
	text   wsframe.UTF8
	from   uint8 // where in the key the next byte of payload is masked
}

// judge is as strictness has it. A close frame is judged as a whole.
func (d *strictSide) judge(h *wsframe.Header, payload []byte, client bool, s *strictness) (fate, *violation) {
	frames, text := d.frames, d.text
	if v := frames.Judge(*h, client, s.reserved); v.Found() {
		return fateBreach, &violation{code: v.Code, reason: v.Reason}
	}
	complete := uint64(len(payload)) == h.Length
	switch {
	case h.Opcode == wsframe.Close && !complete:
		return fateShort, nil
	case h.Opcode == wsframe.Close:
		if v := wsframe.CheckClose(unmasked(payload, h.Key)); v.Found() {
			return fateBreach, &violation{code: v.Code, reason: v.Reason}
		}
	case s.assembled:
	case frames.MustBeUTF8():
		if !text.Scan(payload, h.Key, 0) || complete && h.Final && !text.Complete() {
			return fateBreach, notUTF8
		}
	}
	d.frames, d.text, d.from = frames, text, uint8(len(payload)%4)
	return fatePass, nil
}

// judgeRest judges more payload of the frame in progress.
func (d *strictSide) judgeRest(p []byte, key [4]byte, last bool) *violation {
	if !d.frames.MustBeUTF8() {
		return nil
	}
	if !d.text.Scan(p, key, uint64(d.from)) || last && !d.text.Complete() {
		return notUTF8
	}
	d.from = uint8((int(d.from) + len(p)) % 4)
	return nil
}

var notUTF8 = &violation{code: wsframe.TextNotUTF8.Code, reason: wsframe.TextNotUTF8.Reason}

func unmasked(p []byte, key [4]byte) []byte {
	plain := make([]byte, len(p))
	for i, b := range p {
		plain[i] = b ^ key[i%4]
	}
	return plain
}
