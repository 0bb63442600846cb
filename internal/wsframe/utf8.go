package wsframe

import (
	"encoding/binary"
	"math/bits"
)

// UTF8 validates a text message as its payload streams by, masked or not. Its zero value
// stands at the start of a message, and so does one that [UTF8.Complete] has returned
// true for.
type UTF8 struct {
	state uint8 // one of those below
}

// States of the validation, times the width of a state in the table.
const (
	atRune   = stateWidth * iota
	invalid  // and remains so
	oneMore  // byte of the rune, 80 to BF
	twoMore  // bytes, each 80 to BF
	allMore  // three bytes, each 80 to BF
	afterE0  // A0 to BF, for others would be overlong, and one more
	afterED  // 80 to 9F, for others would be surrogates, and one more
	afterF0  // 90 to BF, for others would be overlong, and two more
	afterF4  // 80 to 8F, for others would be beyond U+10FFFF, and two more
	statesIn // uses this many bits
)

// stateWidth is enough for statesIn, and for a state to be taken out by one shift.
const stateWidth = 6

const nonASCII = 0x8080_8080_8080_8080

// Scan takes the next bytes of the message, which are masked with key unless that is
// zero. The offset is that of p in the payload of its frame. Scan returns false if p has a
// byte that cannot be part of UTF-8 at its place, and from then on.
func (u *UTF8) Scan(p []byte, key [4]byte, offset uint64) bool {
	mask32 := bits.RotateLeft32(binary.LittleEndian.Uint32(key[:]), -8*int(offset%4))
	mask := uint64(mask32)<<32 | uint64(mask32)
	state := uint64(u.state)
	for len(p) >= 8 {
		word := binary.LittleEndian.Uint64(p) ^ mask
		if state == atRune && word&nonASCII == 0 {
			p = p[8:]
			p = p[asciiBlocks(p, mask):]
			continue
		}
		p = p[8:]
		state = nextStates[byte(word)] >> (state % 64)
		state = nextStates[byte(word>>8)] >> (state % 64)
		state = nextStates[byte(word>>16)] >> (state % 64)
		state = nextStates[byte(word>>24)] >> (state % 64)
		state = nextStates[byte(word>>32)] >> (state % 64)
		state = nextStates[byte(word>>40)] >> (state % 64)
		state = nextStates[byte(word>>48)] >> (state % 64)
		state = nextStates[byte(word>>56)] >> (state % 64)
		state %= 1 << stateWidth
	}
	for _, b := range p {
		state = nextStates[b^byte(mask)] >> (state % 64)
		mask >>= 8
	}
	u.state = uint8(state % (1 << stateWidth))
	return u.state != invalid
}

// Complete reports whether the message may end here: what has come so far is UTF-8, and
// not cut inside a rune.
func (u *UTF8) Complete() bool {
	return u.state == atRune
}

// asciiBlocks returns how many bytes at the start of p are ASCII, in blocks of eight.
func asciiBlocks(p []byte, mask uint64) int {
	n := 0
	for len(p) >= 32 {
		a, b := binary.LittleEndian.Uint64(p)^mask, binary.LittleEndian.Uint64(p[8:])^mask
		c, d := binary.LittleEndian.Uint64(p[16:])^mask, binary.LittleEndian.Uint64(p[24:])^mask
		if (a|b|c|d)&nonASCII != 0 {
			break
		}
		p = p[32:]
		n += 32
	}
	for len(p) >= 8 && (binary.LittleEndian.Uint64(p)^mask)&nonASCII == 0 {
		p = p[8:]
		n += 8
	}
	return n
}

// nextStates has, for each byte, the next state for every state, at the bit that the
// state names.
var nextStates = func() (table [256]uint64) {
	for b := range table {
		for state := uint64(atRune); state < statesIn; state += stateWidth {
			table[b] |= nextState(state, byte(b)) << state
		}
	}
	return table
}()

// nextState follows table 3-7 of the Unicode standard, which RFC 3629 has as a grammar.
func nextState(state uint64, b byte) uint64 {
	type step struct {
		state     uint64
		from, to  byte
		nextState uint64
	}
	for _, s := range [...]step{
		{atRune, 0x00, 0x7F, atRune},
		{atRune, 0xC2, 0xDF, oneMore},
		{atRune, 0xE0, 0xE0, afterE0},
		{atRune, 0xE1, 0xEC, twoMore},
		{atRune, 0xED, 0xED, afterED},
		{atRune, 0xEE, 0xEF, twoMore},
		{atRune, 0xF0, 0xF0, afterF0},
		{atRune, 0xF1, 0xF3, allMore},
		{atRune, 0xF4, 0xF4, afterF4},
		{oneMore, 0x80, 0xBF, atRune},
		{twoMore, 0x80, 0xBF, oneMore},
		{allMore, 0x80, 0xBF, twoMore},
		{afterE0, 0xA0, 0xBF, oneMore},
		{afterED, 0x80, 0x9F, oneMore},
		{afterF0, 0x90, 0xBF, twoMore},
		{afterF4, 0x80, 0x8F, twoMore},
	} {
		if s.state == state && s.from <= b && b <= s.to {
			return s.nextState
		}
	}
	return invalid
}
