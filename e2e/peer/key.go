package peer

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
)

// A Key is a key pair in the base64 of wg(8). It is made by the standard
// library: the tests do not trust the code they test.
type Key struct{ Private, Public string }

// NewKey returns a new key pair.
func NewKey() Key {
	b := make([]byte, 32)
	rand.Read(b)
	b[0] &= 0xf8 // as wg genkey leaves it: RFC 7748 §5
	b[31] = b[31]&0x7f | 0x40
	k, err := ecdh.X25519().NewPrivateKey(b)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return Key{
		Private: base64.StdEncoding.EncodeToString(b),
		Public:  base64.StdEncoding.EncodeToString(k.PublicKey().Bytes()),
	}
}

// NewPresharedKey returns 32 random bytes.
func NewPresharedKey() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}
