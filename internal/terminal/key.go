package terminal

import (
	"bytes"
	"unicode/utf8"
)

// Key is a key of the keyboard: the character that it stands for, or one of the
// constants.
type Key rune

// Keys that stand for no character.
const (
	Unknown Key = -1 - iota
	Escape
	Enter
	Backspace
	Tab
	Up
	Down
	PageUp
	PageDown
	Home
	End
	Interrupt // Ctrl-C
	Clear     // Ctrl-U
)

// controls are the keys that one byte below that of a space or 0x7f stands for.
var controls = map[byte]Key{
	'\r': Enter, '\n': Enter, '\t': Tab, 0x7f: Backspace, 0x08: Backspace,
	0x03: Interrupt, 0x15: Clear, 0x10: Up, 0x0e: Down, // the latter two are Ctrl-P and Ctrl-N
}

// sequences are the keys that an escape sequence stands for, without its first two
// bytes.
var sequences = map[string]Key{
	"A": Up, "B": Down, "H": Home, "F": End,
	"1~": Home, "4~": End, "5~": PageUp, "6~": PageDown, "7~": Home, "8~": End,
}

// Decode reads keys from what a terminal has sent. The rest is a key of which not all
// has come. An Escape that nothing follows is the key.
func Decode(sent []byte) (keys []Key, rest []byte) {
	for len(sent) > 0 {
		key, size := decodeOne(sent)
		if size == 0 {
			return keys, sent
		}
		keys, sent = append(keys, key), sent[size:]
	}
	return keys, nil
}

// decodeOne reads the first key, with a size of 0 where not all of it has come.
func decodeOne(sent []byte) (Key, int) {
	first := sent[0]
	if first == 0x1b {
		return decodeEscape(sent)
	}
	if first < ' ' || first == 0x7f {
		if key, ok := controls[first]; ok {
			return key, 1
		}
		return Unknown, 1
	}
	if !utf8.FullRune(sent) {
		return Unknown, 0
	}
	character, size := utf8.DecodeRune(sent)
	if character == utf8.RuneError {
		return Unknown, size
	}
	return Key(character), size
}

// decodeEscape reads what begins with an Escape: the key, or a sequence as ECMA-48 has
// them.
func decodeEscape(sent []byte) (Key, int) {
	switch {
	case len(sent) == 1:
		return Escape, 1
	case sent[1] == 0x1b:
		return Escape, 1
	case sent[1] != '[' && sent[1] != 'O': // a key with Alt
		_, size := utf8.DecodeRune(sent[1:])
		return Unknown, 1 + size
	}
	final := bytes.IndexFunc(sent[2:], func(r rune) bool { return r >= '@' && r <= '~' || r < ' ' })
	if final >= 0 && sent[2+final] < ' ' { // is none, and the key that follows is one
		return Unknown, 2 + final
	}
	if final < 0 {
		if len(sent) > 32 { // is none
			return Unknown, len(sent)
		}
		return Unknown, 0
	}
	if key, ok := sequences[string(sent[2:2+final+1])]; ok {
		return key, 2 + final + 1
	}
	return Unknown, 2 + final + 1
}
