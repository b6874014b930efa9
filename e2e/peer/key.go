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
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return Key{
		Private: base64.StdEncoding.EncodeToString(k.Bytes()),
		Public:  base64.StdEncoding.EncodeToString(k.PublicKey().Bytes()),
	}
}

// NewPresharedKey returns 32 random bytes.
func NewPresharedKey() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}
