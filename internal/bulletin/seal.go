package bulletin

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
)

// sealer seals what only the nodes of the fleet may read.
type sealer struct {
	aead  cipher.AEAD
	names cipher.Block // of IDs
	marks []byte       // the key of what an ID is sealed by
}

func newSealer(secret []byte) sealer {
	derive := func(purpose string) []byte {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(purpose))
		return mac.Sum(nil)
	}
	aead, err := cipher.NewGCMWithRandomNonce(newBlock(derive("seal")))
	if err != nil {
		panic(err) // AES has blocks of 16 bytes
	}
	return sealer{aead, newBlock(derive("names")), derive("marks")}
}

func newBlock(key []byte) cipher.Block {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // 32 bytes are a key
	}
	return block
}

// The version of what is sealed, its first byte, and the rest of what comes before the data.
const (
	sealed    = 1
	nonceSize = 12
)

var errSealed = errors.New("it was sealed with another secret, or is damaged")

// seal seals data for a purpose, for which alone it can be opened.
func (s sealer) seal(data []byte, purpose string) []byte {
	out := make([]byte, 1, 1+len(data)+s.aead.Overhead())
	out[0] = sealed
	return s.aead.Seal(out, nil, data, []byte(purpose)) //nolint:gosec // this AEAD makes a random nonce by itself
}

// open opens what was sealed for a purpose.
func (s sealer) open(data []byte, purpose string) ([]byte, error) {
	if len(data) == 0 || data[0] != sealed {
		return nil, errSealed
	}
	opened, err := s.aead.Open(nil, nil, data[1:], []byte(purpose))
	if err != nil {
		return nil, errSealed
	}
	return opened, nil
}

// nonce tells sealed data from all other. It is empty for data that was not sealed.
type nonce [nonceSize]byte

func nonceOf(data []byte) (n nonce) {
	if len(data) > nonceSize {
		copy(n[:], data[1:])
	}
	return n
}

// ref is what a record is called.
type ref struct{ kind, id string }

func (r ref) purpose() string { return "record\x00" + r.kind + "\x00" + r.id }

// nameOf returns what a record is called in the engine: its ID, sealed such that one ID has
// one name. IDs themselves are made of names of users, which could be guessed by them.
func (s sealer) nameOf(r ref) string {
	mac := hmac.New(sha256.New, s.marks)
	mac.Write([]byte(r.purpose()))
	name := append(mac.Sum(nil)[:aes.BlockSize], r.id...)
	s.turn(name)
	return hex.EncodeToString(name)
}

// idOf returns the ID of a record of a kind with a name.
func (s sealer) idOf(kind, name string) (id string, ok bool) {
	data, err := hex.DecodeString(name)
	if err != nil || len(data) < aes.BlockSize {
		return "", false
	}
	s.turn(data)
	id = string(data[aes.BlockSize:])
	return id, hmac.Equal([]byte(s.nameOf(ref{kind, id})), []byte(name))
}

// turn encrypts what is behind the mark in a name, or decrypts it.
func (s sealer) turn(name []byte) {
	mark, id := name[:aes.BlockSize], name[aes.BlockSize:]
	cipher.NewCTR(s.names, mark).XORKeyStream(id, id)
}

// version is what a record says, and when it was said.
type version struct {
	data []byte // nil: it was deleted
	// stamp is larger than that of each version which the node that said it knew of.
	stamp uint64
	// again is for what a node only repeats, because the engine did not have it.
	again bool
}

// head is how much of a version comes before its data.
const head = 1 + 8

func (s sealer) sealVersion(r ref, v version) []byte {
	if v.data == nil {
		return nil
	}
	plain := make([]byte, head, head+len(v.data))
	if v.again {
		plain[0] = 1
	}
	binary.BigEndian.PutUint64(plain[1:], v.stamp)
	return s.seal(append(plain, v.data...), r.purpose())
}

func (s sealer) openVersion(r ref, data []byte) (version, error) {
	if data == nil {
		return version{}, nil
	}
	plain, err := s.open(data, r.purpose())
	if err != nil {
		return version{}, err
	}
	if len(plain) <= head {
		return version{}, errSealed
	}
	return version{plain[head:], binary.BigEndian.Uint64(plain[1:]), plain[0]&1 != 0}, nil
}
