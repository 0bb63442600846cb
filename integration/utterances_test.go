package integration

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

func binaryOf(n int) frame {
	return frame{fin: true, op: opBinary, payload: bytes.Repeat([]byte{0xFE}, n)}
}
func pingOf(s string) frame { return frame{fin: true, op: opPing, payload: []byte(s)} }
func pongOf(s string) frame { return frame{fin: true, op: opPong, payload: []byte(s)} }

// part is a fragment that more follow.
func part(op byte, s string) frame { return frame{op: op, payload: []byte(s)} }
func last(s string) frame          { return frame{fin: true, payload: []byte(s)} }

// inParts makes a text message of fragments of so many bytes.
func inParts(s string, size int) (frames []frame) {
	op := byte(opText)
	for piece := range slices.Chunk([]byte(s), size) {
		frames = append(frames, frame{op: op, payload: piece})
		op = opContinuation
	}
	frames[len(frames)-1].fin = true
	return frames
}

// utterances has something of every chapter of conformance with RFC 6455 and RFC 7692.
// Each ends with a close frame.
func utterances() []utterance {
	var all []utterance
	for _, chapter := range []struct {
		name string
		has  []utterance
	}{
		{"framing", framing()}, {"pings", pings()}, {"reserved bits", reservedBits()}, {"opcodes", opcodes()},
		{"fragments", fragments()}, {"UTF-8", texts()}, {"closing", closings()}, {"headers", headers()},
		{"masses", masses()}, {"compression", compressed()},
	} {
		for _, u := range chapter.has {
			u.name = chapter.name + ": " + u.name
			switch end := closing(1000, "").clientBytes(); {
			case u.heeds > 0:
				u.ends = end
			case chapter.name != "closing":
				u.sent = append(u.sent, end...)
			}
			all = append(all, u)
		}
	}
	return all
}

func framing() (all []utterance) {
	for _, n := range []int{0, 1, 125, 126, 127, 128, 65535, 65536} {
		all = append(all,
			utterance{name: fmt.Sprint("text of ", n), sent: client(text(strings.Repeat("*", n)))},
			utterance{name: fmt.Sprint("binary of ", n), sent: client(binaryOf(n))})
	}
	return append(all,
		utterance{name: "text in chops", sent: client(text(strings.Repeat("*", 65536))), chop: 997},
		utterance{name: "binary in chops", sent: client(binaryOf(65536)), chop: 997},
		utterance{name: "texts byte by byte", sent: client(text("one"), text("two"), text("three")), chop: 1})
}

func pings() []utterance {
	var ten []frame
	for i := range 10 {
		ten = append(ten, pingOf(fmt.Sprint("payload ", i)))
	}
	return []utterance{
		{name: "empty", sent: client(pingOf(""))},
		{name: "with text", sent: client(pingOf("are you there"))},
		{name: "with bytes", sent: client(pingOf("\x00\xff\xfe\xfd\xfc\xfb\x00\xff"))},
		{name: "of 125", sent: client(pingOf(strings.Repeat("\xfe", 125)))},
		{name: "of 126", sent: client(pingOf(strings.Repeat("\xfe", 126))), code: 1002},
		{name: "of 125, byte by byte", sent: client(pingOf(strings.Repeat("\xfe", 125))), chop: 1},
		{name: "pong that nobody asked for", sent: client(pongOf(""))},
		{name: "pong with text that nobody asked for", sent: client(pongOf("unasked"))},
		{name: "pong, then ping", sent: client(pongOf("unasked"), pingOf("asked"))},
		{name: "ten", sent: client(ten...)},
		{name: "ten, byte by byte", sent: client(ten...), chop: 1},
	}
}

func reservedBits() (all []utterance) {
	for bits := range byte(7) {
		rsv := (bits + 1) << 4
		wrong := func(f frame) frame {
			f.rsv = rsv
			return f
		}
		for name, f := range map[string]frame{
			"text": text("hello"), "binary": binaryOf(8), "ping": pingOf("p"), "close": closing(1000, ""), "pong": pongOf(""),
		} {
			all = append(all,
				utterance{name: fmt.Sprintf("%x in a %s", rsv, name), sent: client(wrong(f)), code: 1002},
				utterance{name: fmt.Sprintf("%x in a %s after a message, byte by byte", rsv, name),
					sent: client(text("before"), wrong(f), pingOf("behind")), chop: 1, code: 1002})
		}
	}
	return all
}

func opcodes() (all []utterance) {
	for _, op := range []byte{3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF} {
		for name, f := range map[string]frame{"empty": {fin: true, op: op}, "with a payload": {fin: true, op: op, payload: []byte("reserved")}} {
			all = append(all,
				utterance{name: fmt.Sprintf("%x, %s", op, name), sent: client(f), code: 1002},
				utterance{name: fmt.Sprintf("%x, %s, after a message", op, name), sent: client(text("before"), f, pingOf("behind")), code: 1002},
				utterance{name: fmt.Sprintf("%x, %s, byte by byte", op, name), sent: client(text("before"), f), chop: 1, code: 1002})
		}
	}
	return all
}

func fragments() []utterance {
	two := []frame{part(opText, "fragment1"), last("fragment2")}
	mixed := []frame{part(opText, "one"), pingOf("in between"), part(opContinuation, "two"), pongOf("unasked"), last("three")}
	return []utterance{
		{name: "of a ping", sent: client(part(opPing, "frag"), last("ment")), code: 1002},
		{name: "of a pong", sent: client(part(opPong, "frag"), last("ment")), code: 1002},
		{name: "of a close frame", sent: client(frame{op: opClose, payload: []byte{3, 0xE8}}, last("")), code: 1002},
		{name: "two", sent: client(two...)},
		{name: "two in chops", sent: client(two...), chop: 1},
		{name: "with a ping", sent: client(mixed...)},
		{name: "with a ping in chops", sent: client(mixed...), chop: 3},
		{name: "empty ones", sent: client(part(opText, ""), part(opContinuation, ""), last(""))},
		{name: "empty but for the middle", sent: client(part(opText, ""), part(opContinuation, "middle"), last(""))},
		{name: "continuation of nothing", sent: client(last("nothing"), text("behind")), code: 1002},
		{name: "continuation of nothing, and more", sent: client(part(opContinuation, "nothing"), last("")), code: 1002},
		{name: "continuation after a message", sent: client(append(slices.Clone(two), last("more"))...), code: 1002},
		{name: "continuation after a message, byte by byte", sent: client(append(slices.Clone(two), last("more"))...), chop: 1, code: 1002},
		{name: "text within a text", sent: client(part(opText, "one"), text("two"), last("three")), code: 1002},
		{name: "binary within a text", sent: client(part(opText, "one"), binaryOf(3)), code: 1002},
		{name: "begun twice", sent: client(part(opText, "one"), part(opText, "two"), last("three")), code: 1002},
		{name: "many", sent: client(inParts(strings.Repeat("0123456789", 50), 3)...)},
	}
}

// goodTexts and badTexts have the edges of UTF-8.
var (
	goodTexts = []string{
		"Hello-µ@ßöäüàá-UTF-8!!", "κόσμε", "\x00", "\u0080", "\u0800", "\U00010000", "\x7f", "\u07ff", "\uffff", "\U0010ffff",
		"\ud7ff", "\ue000", "\ufffd", "\ufffe", "\U0001fffe", "日本語", "😀",
	}
	badTexts = []string{
		"\x80", "\xbf", "\x80\xbf\x80", "\xc0 ", "\xe0 ", "\xf0 ", "\xf8 ", "\xfc ", "\xc0", "\xe0\x80", "\xf0\x80\x80", "\xdf", "\xef\xbf",
		"\xf7\xbf\xbf\xbf", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xfe", "\xff", "\xfe\xfe\xff\xff", "\xc0\xaf", "\xe0\x80\xaf",
		"\xf0\x80\x80\xaf", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xed\xa0\x80", "\xed\xbf\xbf", "\xed\xa0\x80\xed\xb0\x80",
		"κόσμε\xed\xa0\x80edited", "κόσμε\xf4\x90\x80\x80edited", strings.Repeat("a", 300) + "\xce", strings.Repeat("ä", 5000) + "\xff" + strings.Repeat("ä", 5000),
	}
)

func texts() (all []utterance) {
	add := func(s string, code int) {
		name := fmt.Sprintf("%+.20q", s)
		all = append(all,
			utterance{name: name + " after others", sent: client(text("κόσμε"), text(s), text("behind")), code: code},
			utterance{name: name + " in fragments", sent: client(inParts(s, 1+len(s)/1000)...), code: code},
			utterance{name: name + " in chops", sent: client(text(s)), chop: 1 + len(s)/100, code: code},
			utterance{name: name + " in two fragments with a ping", sent: client(
				part(opText, s[:len(s)/2]), pingOf("\xff"), last(s[len(s)/2:])), code: code})
	}
	for _, s := range goodTexts {
		add(s, 0)
	}
	for _, s := range badTexts {
		add(s, 1007)
	}
	return append(all,
		utterance{name: "as bytes", sent: client(frame{fin: true, op: opBinary, payload: []byte(strings.Join(badTexts, ""))})},
		utterance{name: "cut by the end of the message, then continued", sent: client(text("\xce"), text("\xba")), code: 1007},
		utterance{name: "fails before the message ends", sent: client(part(opText, "ok\xff"), part(opContinuation, "more"), last("")), code: 1007})
}

func closings() (all []utterance) {
	code := func(n int) frame { return closing(n, "") }
	for _, n := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		all = append(all,
			utterance{name: fmt.Sprint(n), sent: client(code(n))},
			utterance{name: fmt.Sprint(n, " with a reason"), sent: client(closing(n, "κόσμε"))})
	}
	for _, n := range []int{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		all = append(all,
			utterance{name: fmt.Sprint(n), sent: client(code(n)), code: 1002},
			utterance{name: fmt.Sprint(n, " with a reason"), sent: client(closing(n, "reason")), code: 1002},
			utterance{name: fmt.Sprint(n, " in chops"), sent: client(code(n)), chop: 1, code: 1002})
	}
	raw := func(payload string) frame { return frame{fin: true, op: opClose, payload: []byte(payload)} }
	return append(all, []utterance{
		{name: "after a message", sent: client(text("hello"), code(1000))},
		{name: "twice", sent: client(code(1000), code(1000))},
		{name: "then a ping", sent: client(code(1000), pingOf("late"))},
		{name: "then a text", sent: client(text("hello"), code(1000), text("late"))},
		{name: "then a large message", sent: client(code(1000), binaryOf(100_000))},
		{name: "within a message", sent: client(part(opText, "begun"), code(1000), last("late"))},
		{name: "without a code", sent: client(raw(""))},
		{name: "half a code", sent: client(raw("\x03")), code: 1002},
		{name: "half a code after a message", sent: client(text("hello"), raw("\x03")), chop: 1, code: 1002},
		{name: "reason of 123", sent: client(closing(1000, strings.Repeat("*", 123)))},
		{name: "reason of 123 in chops", sent: client(closing(1000, strings.Repeat("*", 123))), chop: 10},
		{name: "reason of 124", sent: client(closing(1000, strings.Repeat("*", 124))), code: 1002},
		{name: "reason that is not UTF-8", sent: client(closing(1000, "κόσμε\xed\xa0\x80edited")), code: 1007},
		{name: "reason that is cut", sent: client(closing(1000, "κόσμ\xce")), chop: 2, code: 1007},
	}...)
}

// headers are those that no encoder makes.
func headers() []utterance {
	bytesOf := func(b ...byte) []byte { return b }
	key := []byte{0, 0, 0, 0}
	long := func(n uint64) []byte { return binary.BigEndian.AppendUint64(bytesOf(0x82, 0xFF), n) }
	return []utterance{
		{name: "unmasked text", sent: text("hello").serverBytes(), code: 1002},
		{name: "unmasked ping after a message", sent: join(client(text("hello")), pingOf("").serverBytes()), code: 1002},
		{name: "16 bits for 5", sent: join(bytesOf(0x81, 0xFE, 0, 5), key, []byte("hello")), code: 1002, lax: true},
		{name: "64 bits for 5", sent: join(bytesOf(0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0, 5), key, []byte("hello")), code: 1002, lax: true},
		{name: "64 bits for 65535", sent: join(long(65535), key, make([]byte, 65535)), code: 1002, lax: true},
		{name: "2^63", sent: join(long(1<<63), key, []byte("hello")), code: 1002, endless: true},
		{name: "2^64-1", sent: join(client(text("before")), long(1<<64-1), key), code: 1002, endless: true},
		{name: "2^63, byte by byte", sent: join(long(1<<63), key, []byte("hello")), chop: 1, code: 1002, endless: true},
	}
}

// masses are heard before they are followed by a close frame, as an answer to that one
// is waited for seconds only.
func masses() []utterance {
	var small []frame
	for i := range 1000 {
		small = append(small, text(fmt.Sprint("message ", i)))
	}
	million := strings.Repeat("κόσμε-", 90_000)
	return []utterance{
		{name: "text of a million", sent: client(text(million)), heeds: 1},
		{name: "text of a million in fragments", sent: client(inParts(million, 4096)...), heeds: 1},
		{name: "text of a million in chops", sent: client(text(million)), chop: 10_007, heeds: 1},
		{name: "binary of a million", sent: client(binaryOf(1 << 20)), heeds: 1},
		{name: "binary of 256 KiB in small chops", sent: client(binaryOf(256 << 10)), chop: 512, heeds: 1},
		{name: "a thousand messages", sent: client(small...), heeds: len(small)},
		{name: "a thousand messages in chops", sent: client(small...), chop: 100, heeds: len(small)},
	}
}

// deflater compresses messages as a client does, with what came before in mind or not.
type deflater struct {
	out       bytes.Buffer
	w         *flate.Writer
	forgetful bool
}

func newDeflater(forgetful bool) *deflater {
	d := &deflater{forgetful: forgetful}
	d.w, _ = flate.NewWriter(&d.out, flate.BestCompression)
	return d
}

// message returns the payload of a message.
func (d *deflater) message(s string) string {
	d.out.Reset()
	if d.forgetful {
		d.w.Reset(&d.out)
	}
	_, _ = d.w.Write([]byte(s))
	_ = d.w.Flush()
	return strings.TrimSuffix(d.out.String(), "\x00\x00\xff\xff")
}

func compressed() (all []utterance) {
	const deflate, rsv1 = "permessage-deflate", 0x40
	document := strings.Repeat(`{"id":17,"name":"κόσμε","tags":["a","b"],"on":true},`, 200)
	for offer, forgetful := range map[string]bool{
		deflate: false, deflate + "; client_no_context_takeover; server_no_context_takeover": true,
		deflate + "; client_max_window_bits": false,
	} {
		first := func(s string) frame { return frame{fin: true, rsv: rsv1, op: opText, payload: []byte(s)} }
		d := newDeflater(forgetful)
		var three []frame
		for range 3 {
			three = append(three, first(d.message(document)), text("uncompressed"))
		}
		begun := func(s string) []frame {
			frames := inParts(newDeflater(forgetful).message(s), 50)
			frames[0].rsv = rsv1
			return frames
		}
		again := begun(document)
		again[1].rsv = rsv1
		ping := pingOf("p")
		ping.rsv = rsv1
		alone := newDeflater(forgetful).message
		for _, u := range []utterance{
			{name: "three", sent: client(three...)},
			{name: "three in chops", sent: client(three...), chop: 7},
			{name: "empty", sent: client(first(alone("")))},
			{name: "in fragments", sent: client(begun(document)...)},
			{name: "text that is not UTF-8", sent: client(first(alone("\xff")))},
			{name: "that is none", sent: client(first("\xff\xff\xff\xff")), breaks: true},
			{name: "RSV1 in a continuation", sent: client(again...), code: 1002, breaks: true},
			{name: "RSV1 in a ping", sent: client(ping), code: 1002, breaks: true},
			{name: "uncompressed text that is not UTF-8", sent: client(text("\xff")), code: 1007},
		} {
			u.offer, u.name = offer, offer+": "+u.name
			all = append(all, u)
		}
	}
	return all
}
