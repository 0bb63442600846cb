package membership

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"net/netip"
	"sync"

	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
)

// key is what the engine counts by: a hash, which says nothing of whose it is.
type key [16]byte

// keys makes keys under the fleet's secret.
type keys struct{ scribes sync.Pool }

// scribe writes what a key is made of, and hashes it.
type scribe struct {
	hash hash.Hash
	text []byte
	sum  [sha256.Size]byte
}

func (k *keys) init(secret []byte) {
	derive := hmac.New(sha256.New, secret)
	derive.Write([]byte("count"))
	own := derive.Sum(nil)
	k.scribes.New = func() any { return &scribe{hash: hmac.New(sha256.New, own)} }
}

// begin returns a scribe that has written the kind of the key and the gateway.
func (k *keys) begin(kind byte, gateway string) *scribe {
	s := k.scribes.Get().(*scribe)
	s.text = append(s.text[:0], kind)
	s.text = binary.AppendUvarint(s.text, uint64(len(gateway)))
	s.text = append(s.text, gateway...)
	return s
}

func (k *keys) end(s *scribe) key {
	s.hash.Reset()
	s.hash.Write(s.text)
	sum := s.hash.Sum(s.sum[:0])
	made := key(sum[:len(key{})])
	clear(s.text)
	k.scribes.Put(s)
	return made
}

func (k *keys) user(gateway, user string) key {
	s := k.begin('u', gateway)
	s.text = append(s.text, user...)
	return k.end(s)
}

func (k *keys) network(gateway string, bits int, ip netip.Addr) key {
	s := k.begin('i', gateway)
	s.writeNetwork(bits, ip)
	return k.end(s)
}

// rate returns the key of a network's handshakes. Handlers of a gateway may have several
// rates, which do not hold against each other.
func (k *keys) rate(gateway string, caps admission.Caps, ip netip.Addr) key {
	s := k.begin('r', gateway)
	s.text = binary.AppendVarint(s.text, int64(caps.Handshakes.Count))
	s.text = binary.AppendVarint(s.text, int64(caps.Handshakes.Per))
	s.writeNetwork(caps.Bits(), ip)
	return k.end(s)
}

func (s *scribe) writeNetwork(bits int, ip netip.Addr) {
	network := admission.Network(ip, bits)
	s.text = binary.AppendVarint(s.text, int64(bits))
	s.text = append(s.text, network[:]...)
}

// of returns what a client is counted by in the dimension, false where the client is not
// known in it.
func (k *keys) of(d admission.Dimension, gateway string, ip netip.Addr, user string) (key, bool) {
	switch {
	case d.ByUser && user != "":
		return k.user(gateway, user), true
	case !d.ByUser && ip.IsValid():
		return k.network(gateway, d.Bits, ip), true
	}
	return key{}, false
}
